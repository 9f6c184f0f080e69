"""Data sets in tar shards of WebDataset's layout: members with the same name up to the first dot are one sample.

`key.jpg` (or any image) goes with `key.cls`, a class's number or name; `key.json`, with a field label, labels, class or
target, a list for several classes; or `key.txt`, the class's name. Numbers index the lines of `classes.txt` next to the
shards, if it exists. The split is given by the name of the shard or of its folder (train*.tar, val*.tar, test*.tar).

Shards are on local disk and indexed by one pass over their headers; then any image is read by its offset. Streaming
shards without random access is not supported.
"""

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from skipway.data.dataset import Dataset
from skipway.data.decode import SUFFIXES
from skipway.data.label_encoding import Classes, NamedLabels, to_dataset
from skipway.data.lazy_images import LazyImages, by_split, split_of
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions, require_only
from skipway.errors import DataError, first_line

FIELDS = ("label", "labels", "class", "target")
LABELS = ("cls", "json", "txt")  # extensions; the first one found is used
MAX_BYTES = 1 << 20  # of a label, and of the padding after a shard's last member


class Member(NamedTuple):
    """Position of a member's content in its shard, in bytes."""

    offset: int
    size: int


class Sample(NamedTuple):
    key: str
    image: str
    member: Member
    value: Classes


@dataclass(frozen=True)
class TarReader:
    """Reads an image by its offset; `shard` indexes `shards`. Each read opens the file, so any process may read."""

    shards: tuple[Path, ...]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray

    def __call__(self, place: int) -> bytes:
        file, size = self.shards[self.shard[place]], int(self.size[place])
        try:
            with file.open("rb", buffering=0) as stream:
                stream.seek(int(self.offset[place]))
                content = stream.read(size)
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}): restore it") from None
        if len(content) < size:
            raise DataError(f"{file} is shorter than before: download it again")
        return content


def require_end(shard: Path, stream: BinaryIO, end: int) -> None:
    """Raises DataError unless only zeros follow the last member: the shard is truncated, or several are concatenated.

    tarfile treats both as the end of the shard, and would silently omit samples.
    """
    stream.seek(end)
    rest = stream.read(MAX_BYTES)
    if len(rest) < tarfile.BLOCKSIZE:
        raise DataError(f"{shard} is truncated: download it again")
    if rest.strip(b"\0") or len(rest) == MAX_BYTES:
        raise DataError(f"{shard} has data after its end marker: do not concatenate archives, create a single one")


def read_members(shard: Path, stream: BinaryIO) -> dict[str, dict[str, Member]]:
    """The files in a shard by key, then by extension in lower case; without hidden files and WebDataset's metadata."""
    samples: dict[str, dict[str, Member]] = {}
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would hold all members of a large shard
            folder, _, file = member.name.rpartition("/")
            key, _, extension = file.partition(".")
            if not member.isfile() or not key or key.startswith("__"):
                continue
            if member.issparse():
                raise DataError(f"{shard} contains {member.name} as a sparse file: create the archive without --sparse")
            parts = samples.setdefault(f"{folder}/{key}" if folder else key, {})
            if extension.lower() in parts:
                raise DataError(f"{shard} contains {member.name} twice: names up to the first dot identify samples")
            parts[extension.lower()] = Member(member.offset_data, member.size)
        require_end(shard, stream, tar.offset)
    return samples


def json_value(content: bytes) -> Classes:
    """The label, or the list of labels, in a sample's JSON. Raises ValueError."""
    fields = json.loads(content)
    name = next((f for f in FIELDS if isinstance(fields, dict) and f in fields), None)
    if name is None:
        raise ValueError(f"no field {', '.join(FIELDS)}")
    value = fields[name]
    found = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, int | str) or one == "" for one in found):
        raise ValueError(f"{name} is not an integer, a name or a list of them")
    return tuple(map(str, found)) if isinstance(value, list) else str(value)


def text_value(content: bytes) -> Classes:
    """The label in a sample's text. Raises ValueError."""
    text = content.decode().strip()
    if not text or len(text.splitlines()) > 1:
        raise ValueError("exactly one line is required")
    return text


READERS = {"cls": text_value, "json": json_value, "txt": text_value}


def named_value(value: Classes, classes: Sequence[str]) -> Classes:
    """Class numbers replaced by the names that they index. Raises ValueError."""
    if not isinstance(value, str):
        return tuple(str(named_value(one, classes)) for one in value)
    if not classes or value in classes:
        return value
    if not value.isascii() or not value.isdigit() or int(value) >= len(classes):
        raise ValueError(f"'{value}' is not one of the {len(classes)} lines of classes.txt")
    return classes[int(value)]


def read_samples(shard: Path, classes: Sequence[str]) -> Iterator[Sample]:
    """The samples of a shard. Raises DataError for a damaged shard, and for a sample without image or label."""
    with shard.open("rb") as stream:
        members = read_members(shard, stream)
        if not members:
            raise DataError(f"{shard} contains no samples: remove it or download it again")
        for key, parts in members.items():
            images = [e for e in parts if f".{e.rpartition('.')[2]}" in SUFFIXES]
            label = next((e for e in LABELS if e in parts), None)
            if len(images) != 1 or label is None:
                raise DataError(
                    f"{shard} sample {key} has {', '.join(f'.{e}' for e in parts)}: it needs one image, and a label as "
                    f".{', .'.join(LABELS)}"
                )
            if parts[label].size > MAX_BYTES:
                raise DataError(f"{shard} sample {key} has a label of {parts[label].size:,} bytes: one line is allowed")
            stream.seek(parts[label].offset)
            try:
                value = named_value(READERS[label](stream.read(parts[label].size)), classes)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{shard} sample {key}.{label} is not a valid label ({first_line(error)}): correct it"
                ) from None
            yield Sample(key, images[0], parts[images[0]], value)


def read_part(shards: Sequence[Path], classes: Sequence[str]) -> NamedLabels:
    """The samples of a split's shards, in order. Raises DataError naming the shard."""
    found: list[tuple[int, Sample]] = []
    for number, shard in enumerate(shards):
        try:
            found += [(number, sample) for sample in read_samples(shard, classes)]
        except (tarfile.TarError, OSError) as error:
            raise DataError(f"{shard} is not a readable tar file ({first_line(error)}): download it again") from None
    members = np.array([sample.member for _, sample in found], dtype=np.int64).reshape(-1, 2)
    reader = TarReader(tuple(shards), np.array([n for n, _ in found], dtype=np.int32), members[:, 0], members[:, 1])
    return NamedLabels(
        LazyImages(reader, np.arange(len(found))),
        [sample.value for _, sample in found],
        [f"{shards[n].name}/{sample.key}.{sample.image}" for n, sample in found],
    )


def read_classes(folder: Path) -> tuple[str, ...]:
    """The lines of `classes.txt` in the folder; empty without it. Raises DataError for an empty or duplicate line."""
    file = folder / "classes.txt"
    if not file.is_file():
        return ()
    try:
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8: save it as UTF-8") from None
    if "" in names or len(set(names)) < len(names):
        raise DataError(f"{file} has empty or duplicate lines: write each class once, starting with class 0")
    return names


def expand_braces(pattern: str) -> list[str]:
    """The names that a pattern expands to: {000..012} counts, zero-padded; {a,b} lists; braces do not nest."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = []
    for i, part in enumerate(parts):
        counted = re.fullmatch(r"(\d+)\.\.(\d+)", part)
        if i % 2 and counted:
            low, high = counted.groups()
            choices.append([str(n).zfill(len(low)) for n in range(int(low), int(high) + 1)])
        else:
            choices.append(part.split(",") if i % 2 else [part])
    return ["".join(chosen) for chosen in product(*choices)]


def matching_files(pattern: str) -> list[Path]:
    """The files that match a pattern of braces, * and ?. Raises DataError if a part of it matches nothing."""
    found: list[Path] = []
    for name in expand_braces(pattern):
        path = Path(name)
        files = [path] if path.is_file() else sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not files:
            raise DataError(f"{name} does not exist: correct {pattern}, or download the shard")
        found += files
    if not found:
        raise DataError(f"{pattern} expands to no names: count upwards in its braces")
    return found


def open_shards(where: str, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """Open a tar file, a folder of them, or the files of a pattern such as "train-{000..012}.tar".

    If all shards of a pattern belong to the same split, they are the training set. Raises DataError in one line.
    """
    require_only(reading, where)
    path = Path(where)
    root = path if path.is_dir() else path.parent
    if path.exists():
        groups = by_split([path] if path.is_file() else sorted(path.rglob("*.tar")), root)
    else:
        files = matching_files(where)
        groups = {"train": files} if len({split_of(file, root) for file in files}) == 1 else by_split(files, root)
    classes = read_classes(root)
    return to_dataset(where, {key: read_part(shards, classes) for key, shards in groups.items()}, classes)
