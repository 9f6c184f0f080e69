"""Colour profiles: pixels come out in sRGB, as arithmetic and Little CMS say; sRGB itself stays as it is."""

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageCms

from skipway.data.colour import conversion
from skipway.data.dataset import Dataset, Split
from skipway.data.decode import decode
from skipway.data.quality.inspect import inspect_image
from skipway.data.quality.validate import check_dataset
from tests.data import profiles
from tests.data.hostile import encoded, photo

GAMMA = 2.19921875  # of Adobe RGB (1998), exactly
ADOBE = profiles.rgb_profile(profiles.ADOBE_RGB, profiles.curve(GAMMA))
P3 = profiles.rgb_profile(profiles.DISPLAY_P3, profiles.srgb_curve())
LITTLE_CMS_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OWN_SRGB = profiles.rgb_profile(profiles.SRGB, profiles.srgb_curve())


def hwc(content: bytes, channels: int = 3, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    return decode(content, channels, "x", background).permute(1, 2, 0).numpy()


def shown(linear: np.ndarray) -> np.ndarray:
    """Light of 0 to 1 as sRGB's numbers of 0 to 255."""
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def from_adobe(pixels: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) of Adobe RGB as sRGB, by the definitions of both."""
    light = (pixels / 255) ** GAMMA
    return shown(light @ (np.linalg.inv(profiles.SRGB) @ profiles.ADOBE_RGB).T)


def test_adobe_rgb_becomes_srgb_as_the_definitions_say() -> None:
    pixels = np.asarray(photo(1))
    found = hwc(encoded(photo(1), "PNG", icc_profile=ADOBE))
    np.testing.assert_allclose(found, from_adobe(pixels), atol=2)
    assert np.abs(found.astype(int) - pixels).max() > 20, "the profile does something"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("profile", [ADOBE, P3], ids=["adobe", "p3"])
def test_every_form_with_a_profile_becomes_what_little_cms_makes_of_it(form: str, profile: bytes) -> None:
    content = encoded(photo(2), form, icc_profile=profile)
    with Image.open(io.BytesIO(content)) as stored:
        held = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        theirs = ImageCms.profileToProfile(stored, held, ImageCms.createProfile("sRGB"))
    np.testing.assert_allclose(hwc(content), np.asarray(theirs), atol=1)


@pytest.mark.parametrize("profile", [None, LITTLE_CMS_SRGB, OWN_SRGB], ids=["none", "theirs", "own"])
def test_srgb_keeps_its_pixels_and_the_short_way(profile: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    short = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *args, **sides: taken.append(1) or short(*args, **sides))
    content = encoded(photo(3), "JPEG", icc_profile=profile)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(hwc(content), np.asarray(image))
    assert taken
    taken.clear()
    hwc(encoded(photo(3), "JPEG", icc_profile=P3))
    assert not taken


def test_a_profile_is_read_once_for_all_images_that_have_it() -> None:
    conversion.cache_clear()
    for seed in range(5):
        hwc(encoded(photo(seed), "JPEG", icc_profile=ADOBE))
    assert conversion.cache_info().misses == 1


def test_transparent_pixels_are_converted_before_they_are_laid_over_the_background() -> None:
    pixels = np.dstack([np.asarray(photo(4)), np.asarray(photo(5, mode="L"))])
    alpha = pixels[:, :, 3:] / 255
    expected = from_adobe(pixels[:, :, :3]) * alpha + np.array([10, 200, 90]) * (1 - alpha)
    content = encoded(Image.fromarray(pixels, "RGBA"), "PNG", icc_profile=ADOBE)
    np.testing.assert_allclose(hwc(content, background=(10, 200, 90)), expected, atol=3)


def test_a_palette_is_converted() -> None:
    image = photo(6).quantize(16)
    found = hwc(encoded(image, "PNG", icc_profile=ADOBE))
    np.testing.assert_allclose(found, from_adobe(np.asarray(image.convert("RGB"))), atol=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_converted_by_a_profile_for_grey(channels: int) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    expected = shown((ramp / 255) ** 1.8)
    found = hwc(encoded(Image.fromarray(ramp), "PNG", icc_profile=profiles.grey_profile(1.8)), channels)
    np.testing.assert_allclose(found, np.stack([expected] * channels, axis=2), atol=2)


def test_sixteen_bit_grey_is_converted_too() -> None:
    ramp = np.arange(256, dtype=np.uint16)[None] * 257
    found = hwc(encoded(Image.fromarray(ramp), "PNG", icc_profile=profiles.grey_profile(1.8)), 1)
    np.testing.assert_allclose(found[:, :, 0], shown((ramp / 65535) ** 1.8), atol=2)


def test_grey_is_converted_by_a_profile_for_colour() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    response = profiles.rgb_profile(profiles.ADOBE_RGB, profiles.curve(1.0))
    found = hwc(encoded(Image.fromarray(ramp), "PNG", icc_profile=response), 1)
    np.testing.assert_allclose(found[:, :, 0], shown(ramp / 255), atol=2)


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_ink_is_converted_by_its_profile(form: str) -> None:
    amounts = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 0, 255], [255, 255, 255, 255]], np.uint8)
    image = Image.fromarray(amounts[None].repeat(16, 0).repeat(16, 1), "CMYK")
    options = {"quality": 100} if form == "JPEG" else {}
    found = hwc(encoded(image, form, icc_profile=profiles.ink_profile(), **options))[8, 8::16].astype(int)
    assert np.abs(found - found[:, :1]).max() <= 2, "this press prints grey with every ink"
    assert found[0].min() >= 253
    assert found[4].max() <= 2
    light = ((75 + 16) / 116) ** 3  # L* = 75 is so much light
    np.testing.assert_allclose(found[1:4], shown(np.full((3, 3), light)), atol=4)


@pytest.mark.parametrize("profile", [b"no profile at all" * 20, ADOBE[:200], profiles.ink_profile()])
def test_a_profile_that_cannot_be_used_is_ignored_and_said_to_be(profile: bytes, tmp_path: Path) -> None:
    content = encoded(photo(7), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(hwc(content), np.asarray(photo(7)))
    other = encoded(photo(8), "PNG")
    dataset = Dataset("s", ("a", "b"), Split([content, other], np.array([0, 1]), ["bad.png", "good.png"]))
    found = [(f.category, f.severity, f.name) for f in check_dataset(dataset, reuse=False).findings]
    assert found == [("unusable profile", "warning", "bad.png")]


def test_damage_anywhere_in_a_profile_is_a_picture_in_some_colours() -> None:
    rng = np.random.default_rng(0)
    for whole in (ADOBE, profiles.ink_profile()[:700], profiles.grey_profile(2.0)):
        for _ in range(60):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(damaged), 4):
                damaged[place] = rng.integers(256)
            assert hwc(encoded(photo(9, 8, 8), "PNG", icc_profile=bytes(damaged))).shape == (8, 8, 3)


def test_a_check_tells_which_profiles_are_converted() -> None:
    assert "colour profile" in inspect_image(encoded(photo(1), "JPEG", icc_profile=ADOBE), 3, "x").kind.traits
    assert not inspect_image(encoded(photo(1), "JPEG", icc_profile=OWN_SRGB), 3, "x").kind.traits


def test_counts_of_channels_other_than_one_and_three_are_taken_as_stored() -> None:
    pixels = np.dstack([np.asarray(photo(4)), np.asarray(photo(5, mode="L"))])
    content = encoded(Image.fromarray(pixels, "RGBA"), "PNG", icc_profile=ADOBE)
    np.testing.assert_array_equal(hwc(content, 4), pixels)


def test_real_photographs_in_adobe_rgb_become_what_little_cms_makes_of_them(shared_data: Path) -> None:
    converted = 0
    for file in sorted((shared_data / "photos").glob("*.JPEG")):
        with Image.open(file) as image:
            profile = image.info.get("icc_profile")
            if profile and b"Adobe RGB" in profile and image.mode == "RGB":
                held = ImageCms.ImageCmsProfile(io.BytesIO(profile))
                theirs = ImageCms.profileToProfile(image, held, ImageCms.createProfile("sRGB"))
                np.testing.assert_allclose(hwc(file.read_bytes()), np.asarray(theirs), atol=1)
                converted += 1
    assert converted == 4
