"""Exports: one that was tampered with is refused in one line, also where its checksums were made anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skipway.deploy.engines.int8 import read_export
from skipway.deploy.export.folder import CARD, EVIDENCE, SUMS, verify, write_sums
from skipway.deploy.export.sessions import OPENVINO_FILE
from skipway.errors import BundleError
from tests.fuzz.changes import as_json, changed, damaged, refused_in_one_line

WEIGHTS = "ab" * 32
VALUES: dict[str, Any] = {"weights_sha256": WEIGHTS, "classes": ["a", "b"], "task": "classify"}
FILES = {"model.onnx": b"\x08\x08\x12\x07pytorch", "model.pt2": b"PK\x03\x04" * 4, EVIDENCE: b'{"largest": 0.1}'}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / CARD).write_bytes(as_json(VALUES))
    write_sums(tmp_path)
    verify(tmp_path, WEIGHTS)
    return tmp_path


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2", CARD, EVIDENCE])
def test_a_file_that_was_changed_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()

    @given(damaged(whole))
    def check(content: bytes) -> None:
        (folder / name).write_bytes(content)
        accepted = refused_in_one_line(lambda: verify(folder, WEIGHTS) is None)
        assert bool(accepted) is (content == whole)

    check()


def test_checksums_that_were_changed_are_refused_or_name_every_file(folder: Path) -> None:
    whole = (folder / SUMS).read_bytes()

    @example(b"")  # found: checksums of nothing were all right
    @example(whole[: whole.index(b"\n") + 1])
    @given(damaged(whole))
    def check(content: bytes) -> None:
        (folder / SUMS).write_bytes(content)
        if refused_in_one_line(lambda: verify(folder, WEIGHTS) is None):
            assert all(file.name.encode() in content for file in folder.iterdir() if file.name != SUMS)

    check()


def test_a_card_with_checksums_of_its_own_is_refused_or_of_the_same_weights(folder: Path) -> None:
    @example([])  # found: a TypeError
    @given(changed(VALUES) | st.recursive(st.none(), st.lists, max_leaves=3))
    def check(document: Any) -> None:
        (folder / CARD).write_bytes(as_json(document))
        write_sums(folder)
        if refused_in_one_line(lambda: verify(folder, WEIGHTS) is None):
            assert document["weights_sha256"] == WEIGHTS

    check()


def test_a_graph_of_openvino_that_was_changed_is_read_or_refused(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    images = openvino.opset13.parameter([-1, 3, 4, 4], openvino.Type.u8, "images")
    scores = openvino.opset13.relu(openvino.opset13.convert(images, "f32"))
    openvino.save_model(openvino.Model([scores], [images]), tmp_path / OPENVINO_FILE)
    whole = (tmp_path / OPENVINO_FILE).read_bytes()

    @example(whole.replace(b'type="ReLU"', b'type="Re\x80U"'))  # found: a UnicodeDecodeError
    @given(damaged(whole))
    def check(content: bytes) -> None:
        (tmp_path / OPENVINO_FILE).write_bytes(content)
        refused_in_one_line(lambda: read_export(tmp_path))

    check()
    (tmp_path / OPENVINO_FILE).write_bytes(b"no graph")
    with pytest.raises(BundleError, match=f"{OPENVINO_FILE} cannot be read"):
        read_export(tmp_path)
