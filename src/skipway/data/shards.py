"""Tar shards in WebDataset's layout: members that share a name up to its first dot are one sample.

`key.jpg` (or any image) goes with `key.cls`, a class's number or name; `key.json`, with a field label, labels, class or
target, a list for several classes; or `key.txt`, the class's name. Numbers index the lines of `classes.txt` beside the
shards, where there is one. Which split a shard holds says its name, or its folder's (train*.tar, val*.tar, test*.tar).

Shards are on local disk and opened whole: one pass over their headers, then any image by its offset. Reading shards
that have no random access, from the network or without that pass, is left to streaming.
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

from skipway.data.decode import SUFFIXES
from skipway.data.labels import Classes, Named, to_source
from skipway.data.reading import DEFAULT_READING, Reading, require_only
from skipway.data.source import Source
from skipway.data.stored import Stored, by_split, split_of
from skipway.errors import DataError, first_line

FIELDS = ("label", "labels", "class", "target")
LABELS = ("cls", "json", "txt")  # extensions, the first found counts
LONGEST = 1 << 20  # bytes of a label; and of what may follow a shard's last member


class Member(NamedTuple):
    """Where a member's content lies in its shard, in bytes."""

    offset: int
    size: int


class Sample(NamedTuple):
    key: str
    image: str
    member: Member
    value: Classes


@dataclass(frozen=True)
class TarReader:
    """Reads an image by its offset; `shard` indexes `shards`. A file is opened for each, which any process may do."""

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
        except OSError as fault:
            raise DataError(f"{file} cannot be read ({fault.strerror}): put it back") from None
        if len(content) < size:
            raise DataError(f"{file} is shorter than it was: fetch it again")
        return content


def require_end(shard: Path, stream: BinaryIO, end: int) -> None:
    """Raises DataError unless zeros, and nothing else, follow the last member: a shard cut short, or one after another.

    tarfile takes both for a shard that ends there, and would leave samples out without a word.
    """
    stream.seek(end)
    rest = stream.read(LONGEST)
    if len(rest) < tarfile.BLOCKSIZE:
        raise DataError(f"{shard} is cut short: fetch it again")
    if rest.strip(b"\0") or len(rest) == LONGEST:
        raise DataError(f"{shard} goes on after its end mark: make one archive of those it was joined from")


def read_members(shard: Path, stream: BinaryIO) -> dict[str, dict[str, Member]]:
    """The files in a shard by key, and then by extension in lower case; hidden ones and WebDataset's own left out."""
    samples: dict[str, dict[str, Member]] = {}
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all of a large shard's
            folder, _, file = member.name.rpartition("/")
            key, _, extension = file.partition(".")
            if not member.isfile() or not key or key.startswith("__"):
                continue
            if member.issparse():
                raise DataError(f"{shard} holds {member.name} as a sparse file: archive it without --sparse")
            parts = samples.setdefault(f"{folder}/{key}" if folder else key, {})
            if extension.lower() in parts:
                raise DataError(f"{shard} holds two {member.name}: names up to the first dot tell samples apart")
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
        raise ValueError(f"{name} is neither a whole number nor a name, nor a list of them")
    return tuple(map(str, found)) if isinstance(value, list) else str(value)


def text_value(content: bytes) -> Classes:
    """The label in a sample's text. Raises ValueError."""
    text = content.decode().strip()
    if not text or len(text.splitlines()) > 1:
        raise ValueError("one line is needed")
    return text


READ = {"cls": text_value, "json": json_value, "txt": text_value}


def named_value(value: Classes, classes: Sequence[str]) -> Classes:
    """Numbers as the names that they index. Raises ValueError."""
    if not isinstance(value, str):
        return tuple(str(named_value(one, classes)) for one in value)
    if not classes or value in classes:
        return value
    if not value.isascii() or not value.isdigit() or int(value) >= len(classes):
        raise ValueError(f"'{value}' is none of the {len(classes)} lines of classes.txt")
    return classes[int(value)]


def read_samples(shard: Path, classes: Sequence[str]) -> Iterator[Sample]:
    """The samples of a shard. Raises DataError for a damaged shard, and for a sample without image or label."""
    with shard.open("rb") as stream:
        members = read_members(shard, stream)
        if not members:
            raise DataError(f"{shard} holds no sample: remove it, or fetch it again")
        for key, parts in members.items():
            images = [e for e in parts if f".{e.rpartition('.')[2]}" in SUFFIXES]
            label = next((e for e in LABELS if e in parts), None)
            if len(images) != 1 or label is None:
                raise DataError(
                    f"{shard} sample {key} has {', '.join(f'.{e}' for e in parts)}: one image is needed, and its label "
                    f"as .{', .'.join(LABELS)}"
                )
            if parts[label].size > LONGEST:
                raise DataError(f"{shard} sample {key} has a label of {parts[label].size:,} bytes: one line is needed")
            stream.seek(parts[label].offset)
            try:
                value = named_value(READ[label](stream.read(parts[label].size)), classes)
            except (ValueError, RecursionError) as fault:
                raise DataError(
                    f"{shard} sample {key}.{label} holds no label ({first_line(fault)}): correct it"
                ) from None
            yield Sample(key, images[0], parts[images[0]], value)


def read_part(shards: Sequence[Path], classes: Sequence[str]) -> Named:
    """The samples of a split's shards, in order. Raises DataError naming the shard."""
    found: list[tuple[int, Sample]] = []
    for number, shard in enumerate(shards):
        try:
            found += [(number, sample) for sample in read_samples(shard, classes)]
        except (tarfile.TarError, OSError) as fault:
            raise DataError(
                f"{shard} is not a tar file that can be read ({first_line(fault)}): fetch it again"
            ) from None
    members = np.array([sample.member for _, sample in found], dtype=np.int64).reshape(-1, 2)
    reader = TarReader(tuple(shards), np.array([n for n, _ in found], dtype=np.int32), members[:, 0], members[:, 1])
    return Named(
        Stored(reader, np.arange(len(found))),
        [sample.value for _, sample in found],
        [f"{shards[n].name}/{sample.key}.{sample.image}" for n, sample in found],
    )


def read_classes(folder: Path) -> tuple[str, ...]:
    """The lines of `classes.txt` in the folder; none without it. Raises DataError for an empty or repeated line."""
    file = folder / "classes.txt"
    if not file.is_file():
        return ()
    try:
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8: save it so") from None
    if "" in names or len(set(names)) < len(names):
        raise DataError(f"{file} has empty or repeated lines: write each class once, number 0 first")
    return names


def braces(pattern: str) -> list[str]:
    """The names that a pattern stands for: {000..012} counts, in as many digits; {a,b} lists; braces do not nest."""
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


def matching(pattern: str) -> list[Path]:
    """The files that a pattern of braces, * and ? stands for. Raises DataError when a part of it matches nothing."""
    found: list[Path] = []
    for name in braces(pattern):
        path = Path(name)
        files = [path] if path.is_file() else sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not files:
            raise DataError(f"{name} does not exist: correct {pattern}, or fetch the shard")
        found += files
    if not found:
        raise DataError(f"{pattern} stands for no name: count upwards in its braces")
    return found


def open_shards(where: str, reading: Reading = DEFAULT_READING) -> Source:
    """The data set in a tar file, a folder of them, or those of a pattern such as "train-{000..012}.tar".

    The shards of a pattern that all hold one split are the whole set. Raises DataError in one line.
    """
    require_only(reading, where)
    path = Path(where)
    root = path if path.is_dir() else path.parent
    if path.exists():
        groups = by_split([path] if path.is_file() else sorted(path.rglob("*.tar")), root)
    else:
        files = matching(where)
        groups = {"train": files} if len({split_of(file, root) for file in files}) == 1 else by_split(files, root)
    classes = read_classes(root)
    return to_source(where, {key: read_part(shards, classes) for key, shards in groups.items()}, classes)
