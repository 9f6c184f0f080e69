"""JPEG images decoded at the codec's own smaller scales."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from skipway.data.decode import WHITE, decode, decode_reduced
from skipway.data.preprocess import Preprocessing, for_photographs


def photograph(width: int, height: int) -> Image.Image:
    rough = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, orientation: int = 1, **options: object) -> bytes:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(stream, "JPEG", quality=90, exif=exif, **options)
    return stream.getvalue()


def pillows(content: bytes, by: int) -> np.ndarray:
    """What Pillow's own reduced decoding gives, upright."""
    image = Image.open(io.BytesIO(content))
    image.draft(None, (image.width // by, image.height // by))
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("least", "by"), [(0, 1), (51, 2), (50, 2), (26, 2), (25, 4), (13, 4), (12, 8), (1, 8)])
def test_the_scale_is_the_smallest_with_the_pixels_that_are_needed(orientation: int, least: int, by: int) -> None:
    content = jpeg(photograph(135, 103), orientation)
    image, size = decode_reduced(content, 3, "photograph", WHITE, least)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pillows(content, by))
    assert size == ((135, 103) if orientation > 4 else (103, 135))
    assert min(image.shape[1:]) >= least


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_ink_are_reduced_too(mode: str) -> None:
    content = jpeg(photograph(160, 96).convert(mode))
    small, size = decode_reduced(content, 3, "print", WHITE, 20)
    assert (small.shape, size) == ((3, 24, 40), (96, 160))
    full = decode(content, 3, "print")
    means = full.float().view(3, 24, 4, 40, 4).mean((2, 4))
    assert (small.float() - means).abs().mean() < 2


def test_colour_profiles_are_converted_after_the_reduction() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = jpeg(photograph(160, 96), icc_profile=profile)
    small = decode_reduced(content, 3, "photograph", WHITE, 20).image
    np.testing.assert_array_equal(small.permute(1, 2, 0).numpy(), pillows(content, 4))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP"])
def test_other_formats_are_decoded_in_full(form: str) -> None:
    stream = io.BytesIO()
    photograph(160, 96).save(stream, form)
    image, size = decode_reduced(stream.getvalue(), 3, "picture", WHITE, 1)
    assert image.shape == (3, 96, 160)
    assert size == (96, 160)


def test_arrays_are_taken_as_they_are() -> None:
    pixels = np.zeros((96, 160, 3), np.uint8)
    assert decode_reduced(pixels, 3, "array", WHITE, 1).image.shape == (3, 96, 160)


def test_the_record_says_whether_images_are_reduced() -> None:
    content, record = jpeg(photograph(1600, 1200)), for_photographs(64)
    assert record.reduced(content, "photograph").image.shape == (3, 1200, 1600)
    sparing = Preprocessing(**{**vars(record), "jpeg_oversampling": 2.0})  # 2 x 73 pixels are needed
    assert sparing.reduced(content, "photograph").image.shape == (3, 150, 200)
    assert sparing.decoded(content, "photograph").shape == (3, 1200, 1600)
    opened = sparing.opened(content, "photograph")
    assert opened.size == (1200, 1600)
    assert opened.image.shape == (3, 64, 64)


def test_inputs_made_of_reduced_images_are_nearly_those_of_whole_ones() -> None:
    content, record = jpeg(photograph(1600, 1200)), for_photographs(64)
    sparing = Preprocessing(**{**vars(record), "jpeg_oversampling": 2.0})
    first, second = (one.open(content, "photograph").float() for one in (record, sparing))
    assert (first - second).abs().mean() < 1
