"""HEIC, HEIF and AVIF: read as any photograph is, and never lost in silence where nothing decodes them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipway.data import heif, open_dataset
from skipway.data.decode import BUILTIN_SUFFIXES, SUFFIXES, decode
from skipway.data.formats import folder
from skipway.data.formats.folder import images_below
from skipway.data.quality import stray_files
from skipway.data.quality.inspect import inspect_image
from skipway.data.quality.validate import check_dataset, open_for_check
from skipway.deploy.serve.image_limits import check_image as server_check
from skipway.deploy.serve.limits import Limits
from skipway.errors import DataError
from tests.data import profiles
from tests.data.hostile import encoded, photo

with_heif = pytest.mark.skipif(".heic" not in SUFFIXES, reason="pillow-heif is not installed")
with_avif = pytest.mark.skipif(".avif" not in SUFFIXES, reason="this Pillow does not decode AVIF")
BOTH = [pytest.param("HEIF", marks=with_heif), pytest.param("AVIF", marks=with_avif)]
START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"  # how a HEIC begins


def coded(image: Image.Image, form: str, **options: object) -> bytes:
    heif.register()
    return encoded(image, form, quality=95, **options)


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone_once(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = photo(1, 200, 150)
    upright = decode(encoded(picture, "PNG", exif=exif), 3, "x")  # as tests of PNG show
    content = coded(picture, form, exif=exif.tobytes())
    found = decode(content, 3, "x")
    assert found.shape == upright.shape
    assert (found.float() - upright.float()).abs().mean() < 5
    seen = inspect_image(content, 3, "x")
    assert (seen.height, seen.width) == tuple(upright.shape[1:])
    assert ("turned" in seen.kind.traits) == (orientation != 1)


@pytest.mark.parametrize("form", BOTH)
def test_a_photograph_is_read_from_a_folder_as_any_other(form: str, tmp_path: Path) -> None:
    ending = {"HEIF": ".heic", "AVIF": ".avif"}[form]
    for i in range(4):
        file = tmp_path / "set" / "ab"[i % 2] / f"{i}{ending.upper() if i else ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(coded(photo(i), form))
    dataset = open_dataset(str(tmp_path / "set"))
    found = check_dataset(dataset, reuse=False)
    assert found.formats == {form: 4}
    assert found.findings == ()
    pixels = decode(dataset.train.items[0], 3, "x").permute(1, 2, 0).numpy()
    assert np.abs(pixels.astype(float) - np.asarray(photo(0))).mean() < 5


@pytest.mark.parametrize("form", BOTH)
def test_colours_become_srgb_and_grey_and_transparency_are_as_elsewhere(form: str) -> None:
    profile = profiles.rgb_profile(profiles.ADOBE_RGB, profiles.curve(2.2))
    picture = photo(2, 200, 150)
    found = decode(coded(picture, form, icc_profile=profile), 3, "x").float()
    png = decode(encoded(picture, "PNG", icc_profile=profile), 3, "x").float()
    assert (found - png).abs().mean() < 4
    assert (png - decode(encoded(picture, "PNG"), 3, "x").float()).abs().mean() > 8, "the profile does something"
    clear = Image.new("RGBA", (32, 32), (200, 30, 30, 0))
    assert decode(coded(clear, form), 3, "x", (10, 20, 30)).flatten(1).float().mean(1).round().tolist() == [10, 20, 30]


@pytest.mark.parametrize("form", BOTH)
def test_a_file_cut_anywhere_is_refused_in_one_line_and_said_to_be_truncated(form: str, tmp_path: Path) -> None:
    whole = coded(photo(3), form)
    for cut in (*range(40, len(whole), 211), len(whole) - 1):
        (tmp_path / "a.heic").write_bytes(whole[:cut])
        for item in (whole[:cut], tmp_path / "a.heic"):
            with pytest.raises(DataError, match=r"^a\.heic .*: remove or replace it$") as caught:
                decode(item, 3, "a.heic")
            assert "\n" not in str(caught.value)
            assert inspect_image(item, 3, "a.heic").fault[0] == "truncated"


@pytest.mark.parametrize("form", BOTH)
def test_damage_anywhere_is_a_picture_or_a_named_refusal(form: str) -> None:
    rng = np.random.default_rng(0)
    whole = coded(photo(4), form)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(256)
        try:
            assert decode(bytes(damaged), 3, "hurt").shape[0] == 3
        except DataError as fault:
            assert str(fault).startswith("hurt ")
            refused += 1
    assert refused


@pytest.mark.parametrize("form", BOTH)
def test_too_many_pixels_are_refused_before_they_are_decoded(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = coded(photo(5), form)
    for limit in (64 * 48 - 1, 100):  # where Pillow warns, and where it raises
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"^a is 64 x 48 pixels, too large to decode safely: make it smaller$"):
            decode(content, 3, "a")


@pytest.mark.parametrize("form", BOTH)
def test_the_server_takes_them(form: str) -> None:
    server_check(coded(photo(6), form), "a", Limits())


@with_heif
def test_ten_bits_become_eight() -> None:
    import pillow_heif

    values = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None], 64, 0).repeat(3, 2)
    stream = io.BytesIO()
    pillow_heif.encode("RGB;16", (64, 64), values.tobytes(), stream, quality=-1)
    found = decode(stream.getvalue(), 3, "x").permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, values / 257, atol=4)
    assert "16-bit" in inspect_image(stream.getvalue(), 3, "x").kind.traits


@with_heif
def test_the_decoder_is_asked_for_only_where_such_a_file_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    register = heif.register
    monkeypatch.setattr(heif, "register", lambda: asked.append(1) or register())
    content = coded(photo(7), "HEIF")
    monkeypatch.delitem(Image.OPEN, "HEIF")
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    asked.clear()
    for form in ("JPEG", "PNG", "WEBP"):
        decode(encoded(photo(7), form), 3, "x")
    with pytest.raises(DataError):
        decode(b"no image", 3, "x")
    assert not asked
    assert decode(content, 3, "x").shape == (3, 48, 64)
    assert asked


# ---------------------------------------------------------------------------------------------------------------------
# Where the decoder is not installed


@pytest.fixture
def without_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if pillow-heif were not installed, and Pillow did not decode AVIF."""
    missing = frozenset(heif.DECODERS)
    for module in (heif, stray_files, folder):
        monkeypatch.setattr(module, "UNDECODABLE", missing)
    for module in (folder, stray_files):
        monkeypatch.setattr(module, "SUFFIXES", BUILTIN_SUFFIXES)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name not in ("HEIF", "AVIF")])


@pytest.mark.usefixtures("without_decoder")
def test_a_folder_that_loses_photographs_says_so_with_a_count_and_the_way_out(tmp_path: Path) -> None:
    for i in range(4):
        file = tmp_path / "set" / "ab"[i % 2] / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(photo(i), "JPEG"))
    dataset = open_dataset(str(tmp_path / "set"))
    assert check_dataset(dataset).findings == ()
    for name in ("a/1.heic", "a/2.HEIC", "b/3.avif", "b/.hidden.heic"):
        (tmp_path / "set" / name).write_bytes(START)
    again = check_dataset(dataset)
    assert again.reused, "what was kept does not hide it"
    (warning,) = again.findings
    assert (warning.severity, warning.category, warning.count) == ("warning", "file without decoder", 3)
    assert "pip install 'skipway[heif]'" in warning.action
    assert "3 file without decoder (pip install 'skipway[heif]')" in again.summary()
    _, layout = open_for_check(str(tmp_path / "set"))
    assert [one.category for one in layout] == ["hidden file"], "nor is it a mere note"


@pytest.mark.usefixtures("without_decoder")
@pytest.mark.parametrize("brand", [b"heic", b"avif", b"mif1"])
def test_such_an_image_by_itself_is_refused_with_the_way_out(brand: bytes, tmp_path: Path) -> None:
    content = START.replace(b"ftypheic", b"ftyp" + brand)
    (tmp_path / "a.heic").write_bytes(content)
    for item in (content, tmp_path / "a.heic"):
        with pytest.raises(DataError, match=r"^a\.heic is a .* image, and .*: pip install 'skipway\[heif\]'$"):
            decode(item, 3, "a.heic")
        assert inspect_image(item, 3, "a.heic").fault[0] == "missing decoder"


@pytest.mark.usefixtures("without_decoder")
def test_a_class_of_nothing_else_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/1.heic", "b/2.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(photo(0), "JPEG"))
    with pytest.raises(DataError, match=r"without images: b; .*; 2 files there need a decoder: pip install"):
        open_dataset(str(tmp_path))


def test_endings_are_those_that_can_be_decoded(tmp_path: Path) -> None:
    assert SUFFIXES >= BUILTIN_SUFFIXES
    assert set(SUFFIXES | heif.UNDECODABLE) == {*BUILTIN_SUFFIXES, *heif.DECODERS}
    assert not SUFFIXES & heif.UNDECODABLE
    for ending in heif.DECODERS:
        (tmp_path / f"a{ending}").write_bytes(START)
    assert {p.suffix for p in images_below(tmp_path)} == heif.DECODABLE
