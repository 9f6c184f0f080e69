"""Photographs as they are found: turned, grey, transparent, deep, broken, hostile."""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torch import Tensor

from skipway.data.decode import decode
from skipway.errors import DataError

# What EXIF says must be done to the stored pixels, (H, W, C), to set the picture upright, in NumPy.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def hwc(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_exif_orientation_is_undone(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(noise(20, 28, 3)), form, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(content)))  # Pillow itself does not turn what it opens
    np.testing.assert_array_equal(hwc(decode(content, 3, "turned")), UPRIGHT[orientation](stored))


def test_colours_come_in_the_order_red_green_blue_and_axes_as_channels_rows_columns() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 2] = (10, 20, 30)
    image = decode(encoded(Image.fromarray(pixels), "PNG"), 3, "x")
    assert image.shape == (3, 2, 3)
    assert image[:, 0, 2].tolist() == [10, 20, 30]


def test_a_path_and_its_bytes_give_the_same_pixels(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(noise(9, 7, 3)), "JPEG")
    (tmp_path / "a.jpg").write_bytes(content)
    assert decode(tmp_path / "a.jpg", 3, "a").equal(decode(content, 3, "a"))


def test_grey_becomes_three_equal_channels_and_stays_one() -> None:
    pixels = noise(5, 6)
    content = encoded(Image.fromarray(pixels), "PNG")
    np.testing.assert_array_equal(hwc(decode(content, 3, "g")), np.stack([pixels] * 3, axis=2))
    np.testing.assert_array_equal(hwc(decode(content, 1, "g")), pixels[:, :, None])


def test_colour_becomes_grey_by_the_luma_of_bt_601() -> None:
    pixels = noise(8, 8, 3)
    grey = hwc(decode(encoded(Image.fromarray(pixels), "PNG"), 1, "c"))[:, :, 0]
    np.testing.assert_allclose(grey, pixels @ np.array([0.299, 0.587, 0.114]), atol=1)


def test_transparency_is_laid_over_white() -> None:
    pixels = noise(6, 5, 4)
    alpha = pixels[:, :, 3:] / 255
    expected = pixels[:, :, :3] * alpha + 255 * (1 - alpha)
    image = hwc(decode(encoded(Image.fromarray(pixels, "RGBA"), "PNG"), 3, "t"))
    np.testing.assert_allclose(image, expected, atol=1)


def test_grey_with_transparency_is_laid_over_white() -> None:
    pixels = noise(6, 5, 2)
    alpha = pixels[:, :, 1] / 255
    expected = pixels[:, :, 0] * alpha + 255 * (1 - alpha)
    image = hwc(decode(encoded(Image.fromarray(pixels, "LA"), "PNG"), 1, "t"))
    np.testing.assert_allclose(image[:, :, 0], expected, atol=1)


def test_a_palettes_transparent_colour_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 200])
    image.putdata([0, 1])
    content = encoded(image, "PNG", transparency=0)
    assert hwc(decode(content, 3, "p")).tolist() == [[[255, 255, 255], [0, 0, 200]]]


def test_a_palettes_alphas_mix_with_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 200])
    image.putdata([0, 1])
    pixels = hwc(decode(encoded(image, "PNG", transparency=bytes([51, 255])), 3, "p"))
    np.testing.assert_allclose(pixels[0, 0], [255, 204, 204], atol=1)  # a fifth of red over white
    assert pixels[0, 1].tolist() == [0, 0, 200]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    expected = np.round(values / 257).astype(np.uint8)
    for form in ("PNG", "TIFF"):
        pixels = hwc(decode(encoded(Image.fromarray(values), form), 1, "deep"))
        np.testing.assert_array_equal(pixels[:, :, 0], expected, err_msg=form)


def test_cmyk_is_converted_to_colour() -> None:
    content = encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF")
    assert hwc(decode(content, 3, "print"))[0, 0].tolist() == [255, 0, 0]


def test_an_array_keeps_its_values() -> None:
    pixels = noise(4, 5, 3)
    np.testing.assert_array_equal(hwc(decode(pixels, 3, "array")), pixels)


@pytest.mark.parametrize(("held", "asked"), [(1, 3), (3, 1)])
def test_an_array_of_other_channels_is_converted_or_refused_never_passed_on(held: int, asked: int) -> None:
    try:
        image = decode(noise(4, 5, held), asked, "digits[7]")
    except DataError as fault:
        assert "digits[7]" in str(fault)
    else:
        assert image.shape == (asked, 4, 5)


JPEG = encoded(Image.fromarray(noise(32, 32, 3)), "JPEG")
PNG = encoded(Image.fromarray(noise(32, 32, 3)), "PNG")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("text.jpg", b"this is no picture"),
        ("empty.jpg", b""),
        ("cut.jpg", JPEG[: len(JPEG) // 2]),
        ("head.jpg", JPEG[:200]),
        ("cut.png", PNG[: len(PNG) // 2]),
        ("cut.gif", encoded(Image.fromarray(noise(32, 32)), "GIF")[:300]),
        ("page.png", b"<!DOCTYPE html><html>404</html>"),
    ],
)
def test_a_file_that_cannot_be_read_whole_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    for item in (tmp_path / file, content):
        with pytest.raises(DataError) as caught:
            decode(item, 3, f"cats/{file}")
        assert str(caught.value).startswith(f"cats/{file} ")
        assert "remove or replace" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^cats/gone\.jpg cannot be read"):
        decode(tmp_path / "gone.jpg", 3, "cats/gone.jpg")


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that claims `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 60_000])  # pixels: Pillow warns of the first and refuses the second
def test_a_decompression_bomb_is_refused_by_name_before_it_is_opened_up(side: int) -> None:
    with pytest.raises(DataError, match=r"^bomb\.png cannot be read .*exceeds limit"):
        decode(bomb(side), 3, "bomb.png")


def test_photographs_open_with_one_or_three_channels_only() -> None:
    with pytest.raises(DataError, match="1 or 3 channels, not 4"):
        decode(PNG, 4, "a.png")


def test_damage_anywhere_is_a_picture_or_a_named_refusal() -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    small = Image.fromarray(noise(12, 10, 3))
    forms = [encoded(small, form, **options) for form, options in (("JPEG", {"exif": exif}), ("PNG", {}), ("GIF", {}))]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own remarks on damaged tags
        for content in forms:
            for _ in range(150):
                damaged = bytearray(content)
                for place in rng.integers(0, len(damaged), 3):
                    damaged[place] = rng.integers(256)
                try:
                    assert decode(bytes(damaged), 3, "hurt").shape[0] == 3
                except DataError as fault:
                    assert str(fault).startswith("hurt ")
                    refused += 1
    assert refused > 50


def test_decoding_in_threads_leaves_the_process_warnings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first image is held until the second has begun, and the second until the first is done: the order in which
    # changes of the process-wide filters, were there any, would undo one another wrongly.
    first_began, second_began, first_done = threading.Event(), threading.Event(), threading.Event()
    turn = ImageOps.exif_transpose

    def gated(image: Image.Image) -> Image.Image:
        if image.width == 1:
            first_began.set()
            second_began.wait(2)
        else:
            second_began.set()
            first_done.wait(2)
        return turn(image)

    def first() -> None:
        decode(encoded(Image.new("L", (1, 4)), "PNG"), 1, "first")
        first_done.set()

    def second() -> None:
        decode(encoded(Image.new("L", (2, 4)), "PNG"), 1, "second")

    monkeypatch.setattr(ImageOps, "exif_transpose", gated)
    before = list(warnings.filters)
    with warnings.catch_warnings():  # so that what leaks, leaks into here only
        one, two = threading.Thread(target=first), threading.Thread(target=second)
        one.start()
        assert first_began.wait(10)
        two.start()
        one.join()
        two.join()
        assert list(warnings.filters) == before
