"""JPEG XL: read as any photograph is, upright once, and refused in one line where it is damaged or too large."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipway.data import heif, open_dataset
from skipway.data.decode import SUFFIXES, decode
from skipway.data.image_headers import read_header
from skipway.data.quality.inspect import inspect_image
from skipway.data.quality.validate import check_dataset
from skipway.deploy.serve.image_limits import check_image
from skipway.deploy.serve.limits import Limits
from skipway.errors import DataError
from tests.data.hostile import photo

pylibjxl = pytest.importorskip("pylibjxl")


def coded(picture: Image.Image, **options: object) -> bytes:
    return pylibjxl.encode(np.ascontiguousarray(picture), **options)


def test_pixels_are_those_that_were_written() -> None:
    for mode in ("RGB", "L"):
        picture = photo(1, 60, 40).convert(mode)
        content = coded(picture if mode == "RGB" else np.asarray(picture)[:, :, None], lossless=True, distance=0.0)
        found = decode(content, 3, "x").permute(1, 2, 0).numpy()
        assert np.array_equal(found, np.asarray(picture.convert("RGB")))
    lossy = decode(coded(photo(2, 60, 40)), 3, "x").permute(1, 2, 0).numpy()
    assert np.abs(lossy.astype(float) - np.asarray(photo(2, 60, 40))).mean() < 9


def test_the_exif_orientation_beside_it_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = coded(photo(3, 60, 40), lossless=True, distance=0.0, exif=exif.tobytes()[6:])
    assert decode(content, 3, "x").shape == (3, 40, 60)


def test_transparency_is_blended() -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    assert decode(pylibjxl.encode(clear, lossless=True, distance=0.0), 3, "x", (10, 20, 30))[:, 0, 0].tolist() == [
        10,
        20,
        30,
    ]


def test_a_folder_of_them_is_checked_as_any_other(tmp_path: Path) -> None:
    assert ".jxl" in SUFFIXES
    for i in range(4):
        file = tmp_path / "set" / "ab"[i % 2] / f"{i}.jxl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(coded(photo(i)))
    found = check_dataset(open_dataset(str(tmp_path / "set")), reuse=False)
    assert found.formats == {"JXL": 4} and found.findings == ()


def test_cut_and_damaged_files_are_one_line(tmp_path: Path) -> None:
    whole, rng = coded(photo(5)), np.random.default_rng(0)
    for cut in range(2, len(whole) - 1, max(1, len(whole) // 20)):
        with pytest.raises(DataError, match=r"^a\.jxl .*: remove or replace it$"):
            decode(whole[:cut], 3, "a.jxl")
        assert inspect_image(whole[:cut], 3, "a.jxl").fault
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.integers(2, len(damaged))] = rng.integers(256)
        try:
            assert decode(bytes(damaged), 3, "hurt").shape[0] == 3
        except DataError as fault:
            assert str(fault).startswith("hurt ")


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = coded(photo(6))
    monkeypatch.setattr(pylibjxl, "decode", lambda *_, **__: pytest.fail("it was decoded"))
    for limit in (64 * 48 - 1, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"^a is 64 x 48 pixels, too large to decode safely: make it smaller$"):
            decode(content, 3, "a")


def test_the_server_takes_them_and_looks_again_before_it_decodes() -> None:
    content = coded(photo(7))
    check_image(content, "a", Limits())
    header = read_header(content)
    assert (header.kind, header.simple) == ("JXL", False)


def test_without_the_decoder_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "UNDECODABLE", frozenset({".jxl"}))
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "JXL"])
    with pytest.raises(DataError, match=r"^a is a JPEG XL image, .*: pip install 'skipway\[jxl\]'$"):
        decode(coded(photo(8)), 3, "a")
    assert heif.install_for([".jxl"]) == "pip install 'skipway[jxl]'"
    assert heif.install_for([".heic", ".jxl"]) == "pip install 'skipway[heif]' and pip install 'skipway[jxl]'"
