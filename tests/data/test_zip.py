"""A zip archive is its images, as they are in the folder that was packed; hostile ones are one line each."""

import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from skipway.data import open_dataset, zip_images
from skipway.data.quality.validate import check_dataset
from skipway.data.zip_images import ZipImages, entry_of
from skipway.errors import DataError
from tests.data.hostile import encoded, photo


def packed(file: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


def picture(seed: int = 0) -> bytes:
    return encoded(photo(seed), "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for i in range(12):
        file = root / ("train", "test")[i >= 8] / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(i))
    return root


@pytest.mark.parametrize("below", ["", "photos/"])
def test_the_data_set_is_that_of_the_folder(folder: Path, tmp_path: Path, below: str) -> None:
    files = {f"{below}{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*.png")}
    extra = {"__MACOSX/train/a/._1.png": b"x", f"{below}train/a/.hidden.png": b"x", f"{below}notes.txt": b"x"}
    archive = packed(tmp_path / "set.zip", {**files, **extra})
    found, wanted = open_dataset(str(archive)), open_dataset(str(folder))
    assert found.classes == wanted.classes
    for key, split in wanted.splits.items():
        own = found.split(key)
        there = {
            name.removeprefix(below): (int(c), own.items[i])
            for i, (name, c) in enumerate(zip(own.names, own.labels, strict=True))
        }
        assert there == {
            name: (int(c), item.read_bytes())
            for name, c, item in zip(split.names, split.labels, split.items, strict=True)
        }
    assert check_dataset(found, reuse=False).formats == {"PNG": 12}
    reader = pickle.loads(pickle.dumps(found.train.items))
    assert reader[0] == found.train.items[0]


def test_class_folders_alone_are_train(tmp_path: Path) -> None:
    names = ("x/cats/1.png", "x/cats/2.png", "x/dogs/1.png", "x/dogs/deep/2.png")
    archive = packed(tmp_path / "a.zip", {name: picture(i) for i, name in enumerate(names)})
    found = open_dataset(str(archive))
    assert (found.classes, len(found.train), list(found.splits)) == (("cats", "dogs"), 4, ["train"])


def packed_by(method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("a/1.png", picture())
    return stream.getvalue()


def encrypted(name: str = "a/1.png") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, picture())
    content = bytearray(stream.getvalue())
    for start, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(start) + at] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"../a/1.png": b"x"}, r"its entry \.\./a/1\.png leads out of the archive"),
        ({"/etc/1.png": b"x"}, "leads out of the archive"),
        ({"a\\..\\1.png": b"x"}, "leads out of the archive"),
        ({"C:/a/1.png": b"x"}, "leads out of the archive"),
        ({"a/1.png": b"x", "a/inner.zip": b"x"}, "inner.zip is an archive in the archive"),
        ({"a/1.png": bytes(1 << 24)}, "is packed .* times, which no photograph is"),
        ({"1.png": b"x", "a/2.png": b"x"}, "images outside its class folders or splits, such as 1.png"),
        ({"a/readme.txt": b"x"}, "has no images"),
        (b"PK no archive", "is not a zip archive that can be read"),
        (encrypted(), "is encrypted"),
        (packed_by(zipfile.ZIP_LZMA), "is packed by another method than deflate: pack it again"),
        ({".": b"x"}, "has no images"),
    ],
)
def test_hostile_archives_are_one_line(contents: dict[str, bytes] | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    if isinstance(contents, bytes):
        file.write_bytes(contents)
    else:
        packed(file, contents)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(str(file))
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"], "nothing is unpacked"


def test_too_large_an_entry_is_refused_by_what_the_archive_says(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.zip", {"a/1.png": b"x" * 100})
    content = bytearray(file.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", (1 << 30) + 1)
    file.write_bytes(content)
    with pytest.raises(DataError, match="above the limit"):
        ZipImages(file)


def test_an_entry_that_holds_more_than_it_says_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.zip", {"a/1.png": bytes(1 << 22), "b/2.png": picture()})
    content = bytearray(file.read_bytes())
    for start, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(start)
        content[at + place : at + place + 4] = struct.pack("<I", 1000)
    file.write_bytes(content)
    archive = ZipImages(file)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"a\.zip/a/1\.png cannot be read"):
            archive.read("a/1.png")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert archive.read("b/2.png") == picture()


def test_a_name_leads_back_to_its_entry(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.zip", {"a/1.png": b"x"})
    assert entry_of(f"{file}/a/1.png") == (file, "a/1.png")
    assert entry_of(str(file)) is None and entry_of("photos/1.png") is None


def test_a_million_entries_are_counted_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_images, "MOST_ENTRIES", 3)
    with pytest.raises(DataError, match="4 entries, and 3 are allowed"):
        ZipImages(packed(tmp_path / "a.zip", {f"a/{i}.png": b"x" for i in range(4)}))
