"""Data sets of the Hugging Face hub, downloaded whole, and those that `datasets` saved to disk.

`datasets` reads them, whatever their files are, into Arrow files that are mapped into memory: an image is read when
asked for, so a set need not fit. Streaming, where images come in the order of the network, is not for `Source`.
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

from skipway.data.columns import columns, declared_names, label_values
from skipway.data.labels import Named, to_source
from skipway.data.reading import DEFAULT_READING, Reading, require_only
from skipway.data.source import Source
from skipway.data.stored import PREFIXES, Stored
from skipway.download import Notice, announce, offline
from skipway.errors import DataError, SkipwayError, first_line

if TYPE_CHECKING:
    from datasets import Dataset


class Place(NamedTuple):
    """A data set on the hub; `config` is one of several in a repository, `revision` a branch, tag or commit."""

    repository: str
    config: str | None
    revision: str | None


@dataclass(frozen=True)
class DatasetReader:
    """Reads the image in a row of a data set whose `column` is not decoded."""

    rows: "Dataset"
    column: str

    def __call__(self, row: int) -> bytes:
        image = self.rows[row][self.column] or {"bytes": None, "path": None}
        if image["bytes"]:
            return image["bytes"]
        try:
            return Path(image["path"] or "").read_bytes()
        except OSError as fault:
            name = image["path"] or "no path"
            raise DataError(f"row {row} has neither an image's bytes nor its file ({name}: {fault.strerror})") from None


def require_datasets(where: str) -> ModuleType:
    """The library. Raises SkipwayError, naming the extra, where it is not installed."""
    try:
        import datasets
    except ImportError:
        raise SkipwayError(f"{where} is read by the library datasets: pip install 'skipway[data]'") from None
    return datasets


def parse(where: str) -> Place:
    """`hf:owner/name[:config][@revision]`. Raises DataError."""
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?::([^@\s]+))?(?:@(\S+))?", where)
    if not found:
        raise DataError(f"{where} is no place on the hub: write hf:owner/name, hf:owner/name:config or ...@revision")
    return Place(*found.groups())


def fetch(place: Place, where: str) -> Path:
    """The repository's folder in the hub's own cache, downloaded unless it is there. Raises DataError in one line."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    forbidden = offline()
    if (
        not forbidden
        and not (Path(constants.HF_HUB_CACHE) / f"datasets--{place.repository.replace('/', '--')}").exists()
    ):
        announce(Notice(where, terms="licence as its page says"), constants.ENDPOINT, Path(constants.HF_HUB_CACHE))
    try:
        folder = snapshot_download(
            place.repository,
            repo_type="dataset",
            revision=place.revision,
            ignore_patterns=["*.py", "*.pkl", "*.pickle"],  # nothing from outside is run
            local_files_only=forbidden is not None,
        )
    except GatedRepoError:
        raise DataError(
            f"{where} asks for its terms to be accepted: do so on its page, then log in to the hub"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise DataError(
            f"{where} does not exist on the hub, or is not open to you: check its name and revision"
        ) from None
    except Exception as fault:  # the hub's client raises what its own client for HTTP does, whichever that is
        reason = f"{forbidden} is set" if forbidden else first_line(fault.__cause__ or fault)
        raise DataError(
            f"{where} is neither in the hub's cache nor within reach ({reason}): go online and try again"
        ) from None
    return Path(folder)


def read_part(rows: "Dataset", split: str, where: str, label_column: str) -> Named:
    """The rows of a split. Raises DataError for columns or labels that cannot be."""
    from datasets import Image

    schema = rows.features.arrow_schema
    image, label = columns(schema, where, label_column)
    names = declared_names(schema, label)
    column = rows.select_columns([label]).with_format("arrow")[:][label]
    reader = DatasetReader(rows.select_columns([image]).cast_column(image, Image(decode=False)), image)
    return Named(
        Stored(reader, np.arange(len(rows))),
        label_values(column, names, f"{where} {split}"),
        [f"{split}[{i}]" for i in range(len(rows))],
    )


def hidden(rows: "Dataset", label: str) -> bool:
    """Whether a split's labels are withheld, which the hub's data sets say by -1 in every row."""
    column = rows.select_columns([label]).with_format("arrow")[:][label]
    return pa.types.is_integer(column.type) and len(column) > 0 and pc.max(column).as_py() == -1


def read_all(found: "Dataset | Mapping[str, Dataset]", where: str, label_column: str) -> Source:
    """What `datasets` loaded, as a source, which says what splits it leaves out: of other names, or without labels.

    `label_column` holds the labels; "": the one of the usual name.
    """
    splits = dict(found) if isinstance(found, Mapping) else {"train": found}
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    left_out: list[tuple[str, str]] = []
    ours: dict[str, Dataset] = {}
    for key, rows in splits.items():
        split = PREFIXES.get(key.lower())
        if split is None or split in ours:
            left_out.append((key, f"a split that is not train, val or test: {len(rows):,} rows"))
        elif split != "train" and hidden(rows, columns(rows.features.arrow_schema, where, label_column)[1]):
            left_out.append((key, f"its {len(rows):,} labels are withheld (-1)"))
        else:
            ours[split] = rows
    if "train" not in ours:
        raise DataError(f"{where} has no train split: it has {', '.join(splits)}")
    schema = ours["train"].features.arrow_schema
    classes = declared_names(schema, columns(schema, where, label_column)[1])
    parts = {split: read_part(rows, split, where, label_column) for split, rows in ours.items()}
    return to_source(where, parts, classes, tuple(left_out))


def open_hub(where: str, reading: Reading = DEFAULT_READING) -> Source:
    """The data set at `hf:owner/name[:config][@revision]`, of which the whole repository is downloaded once.

    Raises DataError in one line where it is not within reach, not there, or no set of labelled images; SkipwayError
    without the extra `data`.
    """
    require_only(reading, where, "label_column")
    place = parse(where)
    datasets = require_datasets(where)
    folder = fetch(place, where)
    try:
        found = datasets.load_dataset(str(folder), name=place.config)
    except Exception as fault:  # readers of many formats raise faults of many kinds
        raise DataError(f"{where} cannot be opened as a data set ({first_line(fault)}): check its page") from None
    return read_all(found, where, reading.label_column)


def open_saved(folder: Path, reading: Reading = DEFAULT_READING) -> Source:
    """The data set that `save_to_disk` wrote to `folder`. Raises DataError for one that is damaged or no such set."""
    require_only(reading, str(folder), "label_column")
    datasets = require_datasets(str(folder))
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as fault:  # as above
        raise DataError(f"{folder} cannot be opened as a saved data set ({first_line(fault)}): save it again") from None
    return read_all(found, str(folder), reading.label_column)
