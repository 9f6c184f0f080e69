"""Photographs as they are found: turned, grey, transparent, deep, many-banded, broken, hostile."""

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from skipway.data import decode as module
from skipway.data.decode import channels_in, decode
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


def png(pixels: np.ndarray, kind: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """uint16 (H, W, C) as a 16-bit PNG of colour type `kind`, which Pillow cannot write; `chunks` precede the data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(pixels: np.ndarray) -> bytes:
    """uint16 (H, W, 3) as an uncompressed little-endian TIFF."""
    height, width, bands = pixels.shape
    data = pixels.astype("<u2").tobytes()
    after = 8 + 2 + 9 * 12 + 4
    tags = [(256, width), (257, height), (258, after), (259, 1), (262, 2), (273, after + 6), (277, bands)]
    tags += [(278, height), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, v) for tag, v in tags)
    return b"II*\0" + struct.pack("<IH", 8, 9) + entries + bytes(4) + struct.pack("<3H", 16, 16, 16) + data


def deep(*shape: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, 65535
    return values


def test_sixteen_bit_colour_is_scaled_from_black_to_white() -> None:
    values = deep(6, 9, 3)
    for content in (png(values, 2), tiff(values)):
        pixels = hwc(decode(content, 3, "deep"))
        assert pixels[0, 0].tolist() == [0, 0, 0]
        assert pixels[0, 1].tolist() == [255, 255, 255]
        assert np.abs(pixels - values / 257).max() <= 1


def test_sixteen_bits_with_transparency_are_laid_over_the_background() -> None:
    values = deep(6, 9, 4)
    alpha = values[:, :, 3:] / 65535
    expected = values[:, :, :3] / 257 * alpha + np.array([10, 20, 30]) * (1 - alpha)
    np.testing.assert_allclose(hwc(decode(png(values, 6), 3, "deep", (10, 20, 30))), expected, atol=2.5)


def test_a_sixteen_bit_grey_named_transparent_shows_the_background() -> None:
    values = np.array([[[0], [1000], [65535]]], np.uint16)
    content = png(values, 0, (b"tRNS", struct.pack(">H", 1000)))
    assert decode(content, 1, "deep", (7, 7, 7)).flatten().tolist() == [0, 7, 255]


def test_numbers_without_a_scale_are_refused() -> None:
    content = encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(DataError, match=r"^x\.tif holds floating point numbers.*8 or 16 bits$"):
        decode(content, 3, "x.tif")
    content = encoded(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF")
    with pytest.raises(DataError, match=r"^x\.tif holds 32-bit integers"):
        decode(content, 1, "x.tif")


def test_one_bit_is_black_and_white() -> None:
    bits = noise(5, 6) > 127
    for form in ("PNG", "TIFF", "BMP"):
        image = hwc(decode(encoded(Image.fromarray(bits), form), 3, "fax"))
        np.testing.assert_array_equal(image, np.stack([bits * 255] * 3, axis=2), err_msg=form)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(hwc(decode(content, 3, "film"))[4, 4], (250, 0, 0), atol=5)


def test_transparency_is_laid_over_the_background_asked_for() -> None:
    pixels = noise(6, 5, 4)
    alpha = pixels[:, :, 3:] / 255
    colour = np.array([10, 200, 90])
    image = decode(encoded(Image.fromarray(pixels, "RGBA"), "PNG"), 3, "t", (10, 200, 90))
    np.testing.assert_allclose(hwc(image), pixels[:, :, :3] * alpha + colour * (1 - alpha), atol=1)
    clear = encoded(Image.new("LA", (1, 1), (0, 0)), "PNG")
    assert decode(clear, 1, "t", (10, 200, 90)).item() == round(float(colour @ np.array([0.299, 0.587, 0.114])))


def inks() -> tuple[Image.Image, np.ndarray]:
    """Areas of even ink, 16 pixels each, that JPEG keeps; and their colours by (1 - ink)(1 - black)."""
    levels = np.array(
        [[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [60, 120, 180, 90]]
    )
    pixels = np.repeat(np.repeat(levels[None].astype(np.uint8), 16, axis=1), 16, axis=0)
    colours = (255 - pixels[:, :, :3].astype(float)) * (255 - pixels[:, :, 3:].astype(float)) / 255
    return Image.fromarray(pixels, "CMYK"), colours


def without_adobes_mark(jpeg: bytes) -> bytes:
    """The JPEG without its APP14 segment, in which Adobe's programs say that ink is stored inverted."""
    at = jpeg.index(b"\xff\xee")
    length = struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    assert jpeg[at + 4 : at + 9] == b"Adobe"
    return jpeg[:at] + jpeg[at + 2 + length :]


@pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_has_the_very_pixels_that_pillow_gives(subsampling: int) -> None:
    rng = np.random.default_rng(subsampling)
    for width, height in ((1, 1), (17, 3), (33, 47), (90, 61)):
        rough = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((width, height))
        for mode, channels in (("RGB", 3), ("L", 1)):
            for progressive in (False, True):
                content = encoded(
                    rough.convert(mode), "JPEG", quality=80, subsampling=subsampling, progressive=progressive
                )
                pillows = np.asarray(Image.open(io.BytesIO(content))).reshape(height, width, channels)
                np.testing.assert_array_equal(hwc(decode(content, channels, "x")), pillows)


def test_a_jpeg_with_a_flaw_that_pillow_passes_over_has_its_pixels_too() -> None:
    content = bytearray(encoded(Image.fromarray(noise(64, 64, 3)), "JPEG", quality=90))
    content[len(content) // 2 : len(content) // 2 + 2] = b"\xff\xd5"  # a restart that nobody announced
    with pytest.raises(ValueError, match="orrupt"):
        simplejpeg.decode_jpeg(bytes(content))
    pillows = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(hwc(decode(bytes(content), 3, "x")), pillows)


def test_cmyk_is_converted_to_colour() -> None:
    image, colours = inks()
    np.testing.assert_allclose(hwc(decode(encoded(image, "TIFF"), 3, "print")), colours, atol=1)


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # torchvision hands it to another package
def test_adobes_inverted_cmyk_comes_out_in_the_right_colours() -> None:
    image, colours = inks()
    content = encoded(image, "JPEG", quality=100)
    np.testing.assert_allclose(hwc(decode(content, 3, "print.jpg")), colours, atol=4)
    theirs = decode_image(Tensor(list(content)).byte(), ImageReadMode.RGB)  # torchvision's reader, not Pillow's
    np.testing.assert_allclose(hwc(decode(content, 3, "print.jpg")), hwc(theirs), atol=4)


def test_cmyk_that_is_not_adobes_is_not_taken_for_inverted() -> None:
    image, colours = inks()
    inverted = Image.fromarray(255 - np.asarray(image), "CMYK")  # Pillow writes ink inverted, so this stores it plain
    content = without_adobes_mark(encoded(inverted, "JPEG", quality=100))
    np.testing.assert_allclose(hwc(decode(content, 3, "print.jpg")), colours, atol=4)


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # torchvision hands it to another package
def test_images_of_any_size_are_torchvisions() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        height, width, channels = *rng.integers(1, 70, 2), rng.choice([1, 3])
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        smooth = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).resize((width * 2, height * 2))
        mode = ImageReadMode.GRAY if channels == 1 else ImageReadMode.RGB
        for form, options, tolerance in (("PNG", {}, 0), ("JPEG", {"quality": 95}, 2), ("WEBP", {"lossless": True}, 0)):
            if form == "WEBP" and channels == 1:
                continue  # torchvision reads WebP in colour only
            content = encoded(smooth, form, **options)
            theirs = decode_image(Tensor(list(content)).byte(), mode)
            ours = decode(content, int(channels), "x")
            assert ours.shape == theirs.shape
            assert (ours.int() - theirs.int()).abs().max() <= tolerance, (form, height, width, channels)


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


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_arrays_in_files_open_with_as_many_channels_as_they_have(tmp_path: Path, channels: int) -> None:
    pixels = noise(6, 9, channels)
    for array in (pixels, np.asfortranarray(pixels)):
        (tmp_path / "a.npy").write_bytes(npy(array))
        for item in (tmp_path / "a.npy", npy(array)):
            np.testing.assert_array_equal(hwc(decode(item, channels, "a.npy")), pixels)
            assert channels_in(item, "a.npy") == channels
            with pytest.raises(DataError, match=rf"^a\.npy has {channels} channels, and 4 are needed"):
                decode(item, 4, "a.npy")


def test_photographs_are_best_opened_in_colour() -> None:
    assert channels_in(encoded(Image.new("L", (4, 4)), "PNG"), "grey.png") == 3
    assert channels_in(noise(4, 4, 1), "digits[0]") == 1


def test_arrays_of_sixteen_bits_and_without_a_channel_axis_are_taken() -> None:
    values = deep(5, 7)
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(hwc(decode(npy(values), 1, "a"))[:, :, 0], expected)
    np.testing.assert_array_equal(hwc(decode(npy(values.astype(">u2")), 1, "a"))[:, :, 0], expected)
    np.testing.assert_array_equal(hwc(decode(values[:, :, None], 1, "a"))[:, :, 0], expected)


Evil = type("Evil", (), {"__reduce__": lambda self: (os.abort, ())})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(np.zeros((4, 4, 3), np.float32)), "has dtype float32: uint8 or uint16"),
        (npy(np.zeros((4, 4, 3), bool)), "has dtype bool"),
        (npy(np.zeros(4, np.uint8)), r"has the shape \(4,\)"),
        (npy(np.zeros((0, 4, 3), np.uint8)), r"has the shape \(0, 4, 3\)"),
        (npy(np.zeros((4, 4, 3), np.uint8))[:-1], "cannot be read"),
        (npy(np.zeros((4, 4, 3), np.uint8)).replace(b"(4, 4, 3)", b"(9999999999999999, 9, 3)"), "cannot be read"),
        (npy(np.zeros((4, 4, 3), np.uint8))[:20], "cannot be read"),
        (npy(np.array([[[Evil()]]], dtype=object)), "cannot be read"),  # unpickled, it would end the process
        (b"\x93NUMPY\x09\x00", "cannot be read"),
    ],
)
def test_arrays_that_are_no_images_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    for item in (tmp_path / "a.npy", content):
        with pytest.raises(DataError, match=rf"^cats/a\.npy {words}") as caught:
            decode(item, 3, "cats/a.npy")
        assert "\n" not in str(caught.value)


def pages(*arrays: np.ndarray) -> bytes:
    first, *others = [Image.fromarray(array) for array in arrays]
    return encoded(first, "TIFF", save_all=True, append_images=others)


def test_a_tiff_with_a_page_a_channel_opens_as_one_image() -> None:
    bands = [noise(8, 6, seed=i) for i in range(5)]
    np.testing.assert_array_equal(hwc(decode(pages(*bands), 5, "scene.tif")), np.stack(bands, axis=2))
    values = deep(8, 6)
    sixteen = hwc(decode(pages(*[values] * 6), 6, "scene.tif"))
    np.testing.assert_array_equal(sixteen, np.stack([np.round(values / 257)] * 6, axis=2))


def test_pages_that_make_no_image_are_refused() -> None:
    bands = [noise(8, 6, seed=i) for i in range(5)]
    with pytest.raises(DataError, match=r"^s\.tif has 1 channels .*6 are needed"):
        decode(pages(*bands), 6, "s.tif")
    with pytest.raises(DataError, match=r"^s\.tif has pages of different sizes"):
        decode(pages(*bands[:4], noise(8, 7)), 5, "s.tif")
    with pytest.raises(DataError, match=r"^s\.tif has 3 channels \(RGB\), and 5 are needed"):
        decode(pages(*bands[:4], noise(8, 6, 3)), 5, "s.tif")


def test_four_channels_are_the_bands_as_stored() -> None:
    pixels = noise(6, 5, 4)
    for mode, form in (("RGBA", "PNG"), ("CMYK", "TIFF")):
        content = encoded(Image.fromarray(pixels, mode), form)
        np.testing.assert_array_equal(hwc(decode(content, 4, "four")), pixels)
    with pytest.raises(DataError, match=r"^a\.png has 3 channels \(RGB\), and 4 are needed"):
        decode(PNG, 4, "a.png")


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


@pytest.mark.parametrize("name", ["pipe.jpg", "pipe.npy"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"^{name} is a folder, pipe or device, not a file"):
        decode(tmp_path / name, 3, name)


def test_folders_devices_and_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for item, name in ((tmp_path, "cats.jpg"), (Path("/dev/zero"), "zero.jpg")):
        with pytest.raises(DataError, match=rf"^{name} is a folder, pipe or device, not a file"):
            decode(item, 3, name)
    with pytest.raises(DataError, match=r"^long\.jpg cannot be read"):
        decode(tmp_path / ("x" * 5000), 3, "long.jpg")


def test_a_file_past_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_SIZE", len(PNG))
    (tmp_path / "a.png").write_bytes(PNG)
    assert decode(tmp_path / "a.png", 3, "a.png").shape == (3, 32, 32)
    (tmp_path / "b.png").write_bytes(PNG + b"x")
    with pytest.raises(DataError, match=r"^b\.png has .* bytes, above the limit of"):
        decode(tmp_path / "b.png", 3, "b.png")


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that claims `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 16_000, 60_000])  # pixels: Pillow warns of the first, refuses the others
@pytest.mark.parametrize("warned", ["error", "ignore"])
def test_a_decompression_bomb_is_refused_with_its_size_before_it_is_opened_up(
    side: int, warned: str, tmp_path: Path
) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(side))
    for item in (bomb(side), tmp_path / "bomb.png"):
        with warnings.catch_warnings():
            warnings.simplefilter(warned, Image.DecompressionBombWarning)
            with pytest.raises(DataError) as caught:
                decode(item, 3, "bomb.png")
        assert str(caught.value) == f"bomb.png is {side} x {side} pixels, too large to decode safely: make it smaller"


def test_a_jpeg_that_claims_too_many_pixels_is_refused_with_its_size() -> None:
    content = bytearray(encoded(Image.fromarray(noise(20, 20, 3)), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 20_000, 30_000)
    with pytest.raises(
        DataError, match=r"^a\.jpg is 30000 x 20000 pixels, too large to decode safely: make it smaller$"
    ):
        decode(bytes(content), 3, "a.jpg")


def test_damage_anywhere_is_a_picture_or_a_named_refusal() -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    small = Image.fromarray(noise(12, 10, 3))
    ways = [("JPEG", {"exif": exif}), ("PNG", {}), ("GIF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {})]
    forms = [encoded(small, form, **options) for form, options in ways]
    forms += [encoded(small.convert("CMYK"), "JPEG"), encoded(small, "BMP"), npy(noise(4, 5, 3)), tiff(deep(4, 5, 3))]
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

    def gated(image: Image.Image, *, in_place: bool) -> None:
        if image.width == 1:
            first_began.set()
            second_began.wait(2)
        else:
            second_began.set()
            first_done.wait(2)
        turn(image, in_place=in_place)

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
