"""Image and label columns of an Arrow schema in the hub's layout, and the labels' values."""

import json

import pyarrow as pa

from skipway.data.label_encoding import Classes
from skipway.data.read_options import column_index
from skipway.errors import DataError

LABELS = ("label", "labels", "fine_label", "class", "target", "cls")


def columns(schema: pa.Schema, where: str, label_column: str = "") -> tuple[str, str]:
    """The names of the image column, {bytes, path}, and of the label column.

    The label column is `label_column` if given, otherwise `label`, the hub's name, or else the only one of LABELS.
    Raises DataError if a column is missing or the label column is ambiguous, UnknownNameError if `label_column` does
    not exist.
    """
    images = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if images and label_column:
        return images[0], schema.names[column_index(label_column, schema.names, where)]
    labels = [name for name in LABELS if name in schema.names]
    if not images or not labels:
        other = "; use --label-column for another name" if images else ""
        raise DataError(
            f"{where} has columns {', '.join(schema.names)}: an image column of {{bytes, path}} and a column 'label' "
            f"are required{other}"
        )
    if len(labels) > 1 and labels[0] != LABELS[0]:
        raise DataError(f"{where} has columns {' and '.join(labels)}: choose one, such as --label-column {labels[0]}")
    return images[0], labels[0]


def declared_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The class names in the hub's metadata, indexed by integer labels; empty without such metadata."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        feature = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        return tuple(str(name) for name in feature["names"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return ()


def label_values(column: pa.ChunkedArray, names: tuple[str, ...], where: str) -> list[Classes]:
    """The class of each row by name, because another split may number the classes differently; tuples for lists.

    Raises DataError naming the first row, counted from 0, without a label or with one that is not in `names`.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    several = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    kind = column.type.value_type if several else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{where} has labels of type {kind}: use integers or strings")

    def name_of(value: object, row: int) -> str:
        if value is None:
            raise DataError(f"{where} row {row} has no label: remove the row or add a label")
        if not names or not isinstance(value, int):
            return str(value)
        if not 0 <= value < len(names):
            raise DataError(f"{where} row {row} has the label {value}: its metadata names {len(names)} classes")
        return names[value]

    values = column.to_pylist()
    if several:
        return [tuple(name_of(v, i) for v in (row if row is not None else [None])) for i, row in enumerate(values)]
    return [name_of(value, i) for i, value in enumerate(values)]
