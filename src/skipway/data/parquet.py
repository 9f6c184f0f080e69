"""Parquet files in the hub's image layout: a column of {bytes, path} and a column of labels.

One file is a training set; in a folder, the files' names say which split they hold (train*.parquet, test*.parquet,
val*.parquet or validation*.parquet, shards in name order).
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skipway.data.source import Source, Split
from skipway.errors import DataError

PREFIXES = {"train": "train", "test": "test", "val": "val", "validation": "val", "valid": "val"}


def read_table(files: list[Path]) -> pa.Table:
    """The files' rows, one after the other. Raises DataError naming the file that is damaged."""
    tables = []
    for file in files:
        try:
            tables.append(pq.read_table(file))
        except (pa.ArrowInvalid, OSError) as fault:
            reason = str(fault).splitlines()[0]
            raise DataError(f"{file} is not a parquet file that can be read ({reason}): fetch it again") from None
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid:
        raise DataError(
            f"{files[0].parent} holds parquet files of different columns: keep those of one data set"
        ) from None


def columns(table: pa.Table, file: Path) -> tuple[str, str]:
    """The names of the image column and the label column."""
    images = [f.name for f in table.schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    labels = [name for name in ("label", "labels", "fine_label", "class", "target") if name in table.column_names]
    if not images or not labels:
        raise DataError(
            f"{file} has columns {', '.join(table.column_names)}: an image column of {{bytes, path}} and a column "
            "'label' are needed"
        )
    return images[0], labels[0]


def declared_names(table: pa.Table, label: str) -> tuple[str, ...]:
    """The class names in the hub's metadata, which integer labels index; none where there is no such metadata."""
    try:
        metadata = json.loads((table.schema.metadata or {})[b"huggingface"])
        return tuple(str(name) for name in metadata["info"]["features"][label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def to_split(table: pa.Table, label: str, image: str, classes: tuple[str, ...], where: str) -> Split:
    """The rows as a split; `where` is the file's name. Raises DataError for labels or images that cannot be."""
    values = table[label].to_pylist()
    absent = next((i for i, value in enumerate(values) if value is None), None)
    if absent is not None:
        raise DataError(f"{where} row {absent} has no label: leave it out, or give it one")
    names = declared_names(table, label)
    if names and pa.types.is_integer(table.schema.field(label).type):
        wrong = next((v for v in values if not 0 <= v < len(names)), None)
        if wrong is not None:
            raise DataError(f"{where} has the label {wrong}: its metadata names {len(names)} classes, 0 the first")
        values = [names[v] for v in values]  # by name, because another split may number the classes otherwise
    place = {name: i for i, name in enumerate(classes)}
    strange = next((v for v in values if str(v) not in place), None)
    if strange is not None:
        raise DataError(f"{where} has the label '{strange}', which train lacks")
    labels = np.array([place[str(v)] for v in values], dtype=np.int64)
    rows = table[image].to_pylist()
    missing = next((i for i, row in enumerate(rows) if not row or not row["bytes"]), None)
    if missing is not None:
        raise DataError(f"{where} row {missing} has no image bytes: embed the images when writing the file")
    called = [f"{where}[{i}]{' ' + row['path'] if row.get('path') else ''}" for i, row in enumerate(rows)]
    return Split([row["bytes"] for row in rows], labels, called)


def open_parquet(path: Path) -> Source:
    """The data set in a parquet file or a folder of them. Raises DataError for one that is damaged or laid out ill."""
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    groups: dict[str, list[Path]] = {}
    for file in files:
        prefix = next((p for p in PREFIXES if file.name.lower().startswith(p)), None)
        if prefix is None and len(files) > 1:
            raise DataError(f"{file} does not say its split: names begin with train, val or test")
        groups.setdefault(PREFIXES[prefix] if prefix and len(files) > 1 else "train", []).append(file)
    if "train" not in groups:
        raise DataError(f"{path} has no train*.parquet: found {', '.join(f.name for f in files[:5])}")
    tables = {key: read_table(group) for key, group in groups.items()}
    image, label = columns(tables["train"], groups["train"][0])
    seen = sorted(table_label for table_label in tables["train"][label].unique().to_pylist() if table_label is not None)
    classes = declared_names(tables["train"], label) or tuple(str(value) for value in seen)
    splits = {}
    for key, table in tables.items():
        columns(table, groups[key][0])
        splits[key] = to_split(table, label, image, classes, groups[key][0].name)
    return Source(str(path), classes, splits["train"], splits.get("val"), splits.get("test"))
