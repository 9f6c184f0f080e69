"""Convert images with a colour profile (ICC) to sRGB, by Little CMS in Pillow.

The rendering intent is relative colorimetric with black point compensation. A profile that changes no colour by more
than one level counts as sRGB, whatever its name; so do images without a profile. Their pixels are not changed. A
profile that cannot be read, or is for another colour space (CMYK in an RGB file), is not used.
"""

import io
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

Use = Literal["none", "converts", "unusable"]
GREYS = ("1", "L", "LA", "La", "I")  # and I;16 of either byte order
KNOWN = 64  # profiles whose conversion is cached; a data set has few
LEVELS = np.linspace(0, 255, 9).round().astype(np.uint8)  # of each channel, at which a profile is compared with sRGB
FAULTS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


def is_grey(mode: str) -> bool:
    return mode in GREYS or mode.startswith("I;16")


def mode_for(space: str, mode: str) -> str | None:
    """The mode in which an image of `mode` is converted from colour space `space`; None if they do not match."""
    if space == "CMYK" or mode == "CMYK":
        return "CMYK" if space == mode else None
    if space == "GRAY":
        return "L" if is_grey(mode) else None
    return "RGB" if space == "RGB" and mode not in ("LAB", "F") else None


def samples(mode: str) -> Image.Image:
    """A grid of colours over RGB, or all greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return Image.fromarray(np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1).reshape(1, -1, 3))


def changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether `transform` changes any colour by more than one level; always True for CMYK."""
    if mode == "CMYK":
        return True
    before = samples(mode)
    after = ImageCms.applyTransform(before, transform)
    if after is None:
        return False
    difference = np.asarray(after).astype(np.int16) - np.asarray(before.convert("RGB"))
    return bool(np.abs(difference).max() > 1)


@lru_cache(KNOWN)
def conversion(profile: bytes, mode: str) -> tuple[Use, ImageCms.ImageCmsTransform | None, str]:
    """How to use the profile of an image of `mode`, the transform to sRGB if it converts, and the mode of the images
    that the transform takes. Transforms may be used by several threads at once."""
    try:
        icc = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        input_mode = mode_for(icc.profile.xcolor_space.strip(), mode)
        if input_mode is None:
            return "unusable", None, ""
        transform = ImageCms.buildTransform(
            icc,
            ImageCms.createProfile("sRGB"),
            input_mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return ("converts", transform, input_mode) if changes(transform, input_mode) else ("none", None, "")
    except FAULTS:
        return "unusable", None, ""


def use_of_profile(image: Image.Image) -> Use:
    """How to use an image's profile: "none" if there is none or it is sRGB."""
    profile = image.info.get("icc_profile")
    return conversion(profile, image.mode)[0] if profile else "none"


def to_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """`image` in sRGB; unchanged if `profile`, which belonged to it in its original `mode`, needs no conversion.

    The result of a conversion is RGB, or RGBA if `image` is RGBA.
    """
    transform, input_mode = conversion(profile, mode)[1:] if profile else (None, "")
    if transform is None:
        return image
    opaque = image if image.mode == input_mode else image.convert(input_mode)
    converted = ImageCms.applyTransform(opaque, transform)
    if converted is None:  # only for transforms in place
        return image
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted
