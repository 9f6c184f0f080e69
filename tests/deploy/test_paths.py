"""Files, folders, patterns and standard input, one image at a time."""

import io
import itertools
import os
from pathlib import Path

import pytest

from skipway.data.formats.folder import images_below
from skipway.deploy.predict import image_paths
from skipway.deploy.predict.image_paths import Shard, images_of
from skipway.errors import DataError, SkipwayError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = (
        "b.png",
        "a.jpg",
        "sub/c.JPEG",
        "sub/deep/d.png",
        "sub/notes.txt",
        ".hidden.png",
        "z[1].png",
        "other/e.png",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*texts: str) -> list[str]:
    return [path.as_posix() for path in images_of(texts)]


def test_a_folder_gives_the_images_below_it_in_name_order(tree: Path) -> None:
    assert list(images_of([str(tree)])) == images_below(tree)  # which sorts whole paths
    assert names(".") == ["a.jpg", "b.png", "other/e.png", "sub/c.JPEG", "sub/deep/d.png", "z[1].png"]


@pytest.mark.parametrize(
    "pattern", ["*.png", "sub/*.JPEG", "**/*.png", "sub/**/*.png", "s*/*.JPEG", "**/**/d.png", "*/deep/?.png"]
)
def test_a_pattern_matches_what_pathlib_matches(tree: Path, pattern: str) -> None:
    expected = sorted(p.relative_to(tree).as_posix() for p in tree.glob(pattern) if not p.name.startswith("."))
    assert expected
    assert sorted(names(pattern)) == expected
    assert sorted(names(str(tree / pattern))) == [str(tree / e) for e in expected]


def test_a_pattern_that_matches_a_folder_means_its_images(tree: Path) -> None:
    assert names("su*") == ["sub/c.JPEG", "sub/deep/d.png"]


def test_a_name_with_brackets_is_a_file_when_it_is_there(tree: Path) -> None:
    assert names("z[1].png") == ["z[1].png"]


def test_standard_input_gives_a_path_a_line(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a.jpg\n\n missing.png \n"))
    assert names("b.png", "-") == ["b.png", "a.jpg", "missing.png"]


def test_what_names_no_image_is_refused_before_anything_is_answered(tree: Path) -> None:
    (tree / "empty").mkdir()
    for text in ("empty", "*.gif", "nowhere/*.png"):
        with pytest.raises(DataError, match="has no image"):
            images_of(["a.jpg", text])


def test_links_that_lead_back_are_not_followed(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    assert len(names(".")) == 6


def test_a_huge_folder_is_not_listed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that reports a million files: those that are held at once stay few, however many are taken.

    Entries are counted, not bytes: the interpreter's own table of names may grow at any moment.
    """

    class Entry:
        held = most = 0

        def __init__(self, number: int) -> None:
            self.name, self.path = f"{number}.png", f"/huge/{number}.png"
            Entry.held += 1
            Entry.most = max(Entry.most, Entry.held)

        def __del__(self) -> None:
            Entry.held -= 1

        def is_dir(self, follow_symlinks: bool = True) -> bool:
            return False

    class Scan:
        taken = 0

        def __enter__(self):
            return self

        def __exit__(self, *fault: object) -> None: ...

        def __iter__(self):
            return self

        def __next__(self) -> Entry:
            Scan.taken += 1
            if Scan.taken > 1_000_000:
                raise StopIteration
            return Entry(Scan.taken)

    monkeypatch.setattr(os, "scandir", lambda folder: Scan())
    found = images_of([str(tmp_path)])
    assert len(list(itertools.islice(found, 1000))) == 1000
    assert Scan.taken <= image_paths.SORTED + 1
    assert sum(1 for _ in itertools.islice(found, 50_000)) == 50_000
    assert Entry.most <= image_paths.SORTED + 3


def test_processes_share_a_list_without_overlap_whatever_its_order() -> None:
    every = [Path(f"photos/{i}.jpg") for i in range(1000)]
    shares = [list(Shard(rank, 3).own(reversed(every))) for rank in range(3)]
    assert sorted(itertools.chain(*shares)) == sorted(every)
    assert all(280 < len(share) < 390 for share in shares)
    assert Shard(1, 3).part(Path("a/out.csv")) == Path("a/out.part-1-of-3.csv")
    assert Shard().part(Path("out.csv")) == Path("out.csv")


def test_a_process_number_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SkipwayError, match="RANK=2 and WORLD_SIZE=2"):
        image_paths.shard_of_this_process()
