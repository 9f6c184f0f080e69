"""Tables, parquet files and tar shards: opening them is refused in one line, or gives a data set that can be used."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.changes import damaged, refused_in_one_line
from tests.fuzz.data_sets import CELLS, check_file, used

NAMES = st.sampled_from(
    ["a.png", "a.cls", "b.json", "b.txt", "../a.png", "/a.cls", ".png", "__a.cls", "x" * 300, "a.b.c"]
)
LABELS = st.sampled_from(
    [b"0", b"ant", b'{"label": 3}', b'{"label": [1, null]}', b"[" * 5000, b"\xff", b"", b"9" * 5000]
)
KINDS = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((9, 9, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(("suffix", "between"), [("csv", ","), ("tsv", "\t")])
def test_tables(suffix: str, between: str, tmp_path: Path) -> None:
    for i, name in enumerate(("a.png", "b.png", "c.png")):
        (tmp_path / name).write_bytes(png(20 * i))
    file = tmp_path / f"table.{suffix}"
    text = "file,label\na.png,ant\nb.png,bee\nc.png,ant\n".replace(",", between)
    file.write_text(text)
    assert refused_in_one_line(lambda: used(file)) is not None
    rows = st.lists(st.lists(CELLS, max_size=4).map(between.join), max_size=6).map("\n".join)

    @example(f"file{between}label\n{'x' * 300}{between}ant\n".encode())  # found: a name longer than file systems have
    @given(damaged(text.encode()) | rows.map(lambda found: (text + found).encode()) | rows.map(str.encode))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        refused_in_one_line(lambda: used(file))

    check()


def test_parquet(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    rows = pa.array([{"bytes": png(20 * i), "path": f"{i}.png"} for i in range(3)])
    table = pa.table({"image": rows, "label": pa.array([0, 1, 0])})
    features = b'{"info": {"features": {"label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}}}'
    pq.write_table(table.replace_schema_metadata({b"huggingface": features}), file, compression="none")
    whole = file.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    inside = damaged(whole[footer:-8]).map(lambda found: with_footer(whole[:footer], found))
    check_file(file, file, damaged(whole) | inside)


def test_names_and_labels_in_parquet_that_are_no_utf_8(tmp_path: Path) -> None:
    """Found: a UnicodeDecodeError of a column's name."""
    file = tmp_path / "train.parquet"
    rows = pa.array([{"bytes": png(20 * i), "path": f"{i}.png"} for i in range(3)])
    pq.write_table(pa.table({"image": rows, "label": pa.array([0, 1, 0])}), file)
    assert refused_in_one_line(lambda: used(file)) is not None
    file.write_bytes(file.read_bytes().replace(b"path", b"p\x80th"))
    assert refused_in_one_line(lambda: used(file)) is None
    labels = pa.array([b"ant", b"\x80", b"ant"]).view(pa.string())
    pq.write_table(pa.table({"image": rows, "label": labels}), file)
    assert refused_in_one_line(lambda: used(file)) is None


def with_footer(before: bytes, footer: bytes) -> bytes:
    """A parquet file whose end says where its footer begins, as of somebody who changes it on purpose."""
    return before + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def shard(members: list[tuple[str, bytes, bytes]]) -> bytes:
    """A tar file of (name, content, type); types that have no content lose it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.png"
            member.size = len(content) if kind in (tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE) else 0
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def test_shards(tmp_path: Path) -> None:
    file = tmp_path / "train.tar"
    pairs = [("a", b"ant"), ("b", b"bee")]
    whole = [
        (f"{key}.{end}", content, tarfile.REGTYPE)
        for key, name in pairs
        for end, content in (("png", png(40)), ("cls", name))
    ]
    file.write_bytes(shard(whole))
    some = st.lists(st.tuples(NAMES, LABELS | st.just(png(9)), st.sampled_from(KINDS)), max_size=4)
    check_file(file, file, damaged(file.read_bytes()) | some.map(shard) | some.map(lambda found: shard(whole + found)))
