"""Data sets of the Hugging Face hub, downloaded completely, and data sets saved to disk by `datasets`.

`datasets` converts files of any format to Arrow files that are memory-mapped: an image is read when it is accessed, so
a data set need not fit into memory. Streaming, which allows no random access, is not supported by `Dataset`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skipway.data.dataset import Dataset
from skipway.data.formats.arrow_columns import columns, declared_names, label_values
from skipway.data.label_encoding import NamedLabels, to_dataset
from skipway.data.lazy_images import PREFIXES, LazyImages
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions, require_only
from skipway.download import Notice, announce, offline
from skipway.errors import DataError, SkipwayError, first_line

if TYPE_CHECKING:
    import datasets


class Place(NamedTuple):
    """A data set on the hub; `config` is one of several in a repository, `revision` a branch, tag or commit."""

    repository: str
    config: str | None
    revision: str | None


@dataclass(frozen=True)
class DatasetReader:
    """Reads the encoded image of a row, from the `column` that holds it."""

    rows: "datasets.Dataset"
    column: str

    def __call__(self, row: int) -> bytes:
        image = self.rows[row][self.column] or {"bytes": None, "path": None}
        if image["bytes"]:
            return image["bytes"]
        try:
            return Path(image["path"] or "").read_bytes()
        except OSError as error:
            name = image["path"] or "no path"
            raise DataError(f"row {row} has neither image bytes nor an image file ({name}: {error.strerror})") from None


def require_datasets(where: str) -> ModuleType:
    """The library `datasets`. Raises SkipwayError, naming the extra, if it is not installed."""
    try:
        import datasets
    except ImportError:
        raise SkipwayError(f"{where} requires the library datasets: pip install 'skipway[data]'") from None
    return datasets


def parse(where: str) -> Place:
    """`hf:owner/name[:config][@revision]`. Raises DataError."""
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?::([^@\s]+))?(?:@(\S+))?", where)
    if not found:
        raise DataError(f"{where} is not a valid hub name: write hf:owner/name, hf:owner/name:config or ...@revision")
    return Place(*found.groups())


def fetch(place: Place, where: str) -> Path:
    """The repository's folder in the hub's cache, downloaded if necessary. Raises DataError in one line."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    offline_variable = offline()
    if (
        not offline_variable
        and not (Path(constants.HF_HUB_CACHE) / f"datasets--{place.repository.replace('/', '--')}").exists()
    ):
        announce(Notice(where, terms="licence: see its page"), constants.ENDPOINT, Path(constants.HF_HUB_CACHE))
    try:
        folder = snapshot_download(
            place.repository,
            repo_type="dataset",
            revision=place.revision,
            ignore_patterns=["*.py", "*.pkl", "*.pickle"],  # no code from the repository is run
            local_files_only=offline_variable is not None,
        )
    except GatedRepoError:
        raise DataError(
            f"{where} requires you to accept its terms: accept them on its page, then log in to the hub"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise DataError(
            f"{where} does not exist on the hub, or you have no access: check its name and revision"
        ) from None
    except Exception as error:  # the hub's client passes on exceptions of its HTTP library
        reason = f"{offline_variable} is set" if offline_variable else first_line(error.__cause__ or error)
        raise DataError(
            f"{where} is not in the hub's cache and cannot be downloaded ({reason}): go online and try again"
        ) from None
    return Path(folder)


def read_part(rows: "datasets.Dataset", split: str, where: str, label_column: str) -> NamedLabels:
    """The rows of a split. Raises DataError for invalid columns or labels."""
    from datasets import Image

    schema = rows.features.arrow_schema
    image, label = columns(schema, where, label_column)
    names = declared_names(schema, label)
    column = rows.select_columns([label]).with_format("arrow")[:][label]
    reader = DatasetReader(rows.select_columns([image]).cast_column(image, Image(decode=False)), image)
    return NamedLabels(
        LazyImages(reader, np.arange(len(rows))),
        label_values(column, names, f"{where} {split}"),
        [f"{split}[{i}]" for i in range(len(rows))],
    )


def labels_withheld(rows: "datasets.Dataset", label: str) -> bool:
    """Whether a split's labels are withheld, which the hub's data sets mark by -1 in every row."""
    column = rows.select_columns([label]).with_format("arrow")[:][label]
    return pa.types.is_integer(column.type) and len(column) > 0 and pc.max(column).as_py() == -1


def read_all(found: "datasets.Dataset | Mapping[str, datasets.Dataset]", where: str, label_column: str) -> Dataset:
    """Convert what `datasets` loaded to a `Dataset`; its `left_out` names splits of other names or without labels.

    `label_column` holds the labels; "": the column with the usual name.
    """
    splits = dict(found) if isinstance(found, Mapping) else {"train": found}
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    left_out: list[tuple[str, str]] = []
    renamed: dict[str, datasets.Dataset] = {}
    for key, rows in splits.items():
        split = PREFIXES.get(key.lower())
        if split is None or split in renamed:
            left_out.append((key, f"a split that is not train, val or test: {len(rows):,} rows"))
        elif split != "train" and labels_withheld(rows, columns(rows.features.arrow_schema, where, label_column)[1]):
            left_out.append((key, f"its {len(rows):,} labels are withheld (-1)"))
        else:
            renamed[split] = rows
    if "train" not in renamed:
        raise DataError(f"{where} has no train split: it has {', '.join(splits)}")
    schema = renamed["train"].features.arrow_schema
    classes = declared_names(schema, columns(schema, where, label_column)[1])
    parts = {split: read_part(rows, split, where, label_column) for split, rows in renamed.items()}
    return to_dataset(where, parts, classes, tuple(left_out))


def open_hub(where: str, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """Open `hf:owner/name[:config][@revision]`; the complete repository is downloaded once.

    Raises DataError in one line if it cannot be reached, does not exist, or has no labelled images; SkipwayError
    without the extra `data`.
    """
    require_only(reading, where, "label_column")
    place = parse(where)
    datasets = require_datasets(where)
    folder = fetch(place, where)
    try:
        found = datasets.load_dataset(str(folder), name=place.config)
    except Exception as error:  # readers of many formats raise many types of exceptions
        raise DataError(f"{where} cannot be opened as a data set ({first_line(error)}): check its page") from None
    return read_all(found, where, reading.label_column)


def open_saved(folder: Path, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """Open a data set written by `save_to_disk`. Raises DataError if it is damaged or not such a data set."""
    require_only(reading, str(folder), "label_column")
    datasets = require_datasets(str(folder))
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # as above
        raise DataError(f"{folder} cannot be opened as a saved data set ({first_line(error)}): save it again") from None
    return read_all(found, str(folder), reading.label_column)
