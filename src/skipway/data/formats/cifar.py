"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32 x 32 pixels, 50,000 to train and 10,000 to test.

A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. 2009. Downloaded from the author's page in the
binary version (per record: label bytes, then 3,072 bytes of pixels), which needs no unpickling.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipway.data.dataset import Dataset, Split
from skipway.download import cache_folder, fetch
from skipway.errors import DataError

PAGE = "https://www.cs.toronto.edu/~kriz"


@dataclass(frozen=True)
class Archive:
    """An archive on the author's page: checksum, members, and how many label bytes precede each image's pixels."""

    file: str
    checksum: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int


ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-binary.tar.gz",
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        ("test_batch.bin",),
        "batches.meta.txt",
        1,
    ),
    "cifar100": Archive(
        "cifar-100-binary.tar.gz",
        "md5:03b5dce01913d631647c71ecec9e9cb8",
        ("train.bin",),
        ("test.bin",),
        "fine_label_names.txt",
        2,
    ),
}


def read_records(content: bytes, label_bytes: int, name: str) -> Split:
    """A split from records of labels (the last label byte is the fine label) and planar pixels."""
    records = np.frombuffer(content, np.uint8).reshape(-1, label_bytes + 3 * 32 * 32)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = records[:, label_bytes - 1].astype(np.int64)
    return Split(np.ascontiguousarray(pixels), labels, [f"{name}[{i}]" for i in range(len(labels))])


def read_members(file: Path, wanted: tuple[str, ...]) -> bytes:
    """The concatenated contents of an archive's files called `wanted`, in any folder."""
    with tarfile.open(file) as tar:
        members = {member.name.rsplit("/", 1)[-1]: member for member in tar.getmembers() if member.isfile()}
        return b"".join(tar.extractfile(members[name]).read() for name in wanted)  # type: ignore[union-attr]


def open_cifar(name: str) -> Dataset:
    """The data set `name` of ARCHIVES, from the cache or the author's page. Raises SkipwayError when offline."""
    archive = ARCHIVES[name]
    file = fetch(f"{PAGE}/{archive.file}", cache_folder() / archive.file, archive.checksum)
    try:
        train, test, names = (read_members(file, wanted) for wanted in (archive.train, archive.test, (archive.names,)))
        splits = [
            read_records(content, archive.label_bytes, f"{name} {key}")
            for key, content in (("train", train), ("test", test))
        ]
    except (tarfile.TarError, KeyError, ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{file} is not a valid CIFAR archive ({error}): remove it, so that it is downloaded again"
        ) from None
    return Dataset(name, tuple(names.decode().split()), splits[0], test=splits[1])
