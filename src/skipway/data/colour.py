"""Colour profiles (ICC): from what an image's numbers mean there to sRGB, by Little CMS in Pillow.

The rendering intent is relative colorimetric with black point compensation. A profile that changes no colour by more
than one level is sRGB already, whatever its name, and so are images without one: their pixels stay as they are. A
profile that cannot be read, or is for another kind of image (CMYK in a file of RGB), is not used.
"""

import io
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

Use = Literal["none", "converts", "unusable"]
GREYS = ("1", "L", "LA", "La", "I")  # and I;16 of either order of bytes
KNOWN = 64  # profiles whose conversion is kept; a data set has few
LEVELS = np.linspace(0, 255, 9).round().astype(np.uint8)  # of each channel, at which a profile is compared with sRGB
FAULTS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


def is_grey(mode: str) -> bool:
    return mode in GREYS or mode.startswith("I;16")


def mode_for(space: str, mode: str) -> str | None:
    """In which mode an image of `mode` goes through a profile of the colour space `space`; None for another kind."""
    if space == "CMYK" or mode == "CMYK":
        return "CMYK" if space == mode else None
    if space == "GRAY":
        return "L" if is_grey(mode) else None
    return "RGB" if space == "RGB" and mode not in ("LAB", "F") else None


def samples(mode: str) -> Image.Image:
    """Colours from all over RGB, or all greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return Image.fromarray(np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1).reshape(1, -1, 3))


def changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether `transform` moves any colour by more than one level; ink it always does."""
    if mode == "CMYK":
        return True
    before = samples(mode)
    after = ImageCms.applyTransform(before, transform)
    if after is None:
        return False
    moved = np.asarray(after).astype(np.int16) - np.asarray(before.convert("RGB"))
    return bool(np.abs(moved).max() > 1)


@lru_cache(KNOWN)
def conversion(profile: bytes, mode: str) -> tuple[Use, ImageCms.ImageCmsTransform | None, str]:
    """What the profile of an image of `mode` is good for, the transform to RGB in sRGB where it converts, and the mode
    of the images which that takes. Transforms may be used by several threads at once."""
    try:
        held = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        taken = mode_for(held.profile.xcolor_space.strip(), mode)
        if taken is None:
            return "unusable", None, ""
        transform = ImageCms.buildTransform(
            held,
            ImageCms.createProfile("sRGB"),
            taken,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return ("converts", transform, taken) if changes(transform, taken) else ("none", None, "")
    except FAULTS:
        return "unusable", None, ""


def use_of_profile(image: Image.Image) -> Use:
    """What is to be done with an image's profile: "none" where it has none, or sRGB."""
    profile = image.info.get("icc_profile")
    return conversion(profile, image.mode)[0] if profile else "none"


def to_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """`image` in sRGB: as it is where `profile`, which it had when it was of `mode`, says nothing else.

    What is converted comes out as RGB, or RGBA where `image` is that.
    """
    transform, taken = conversion(profile, mode)[1:] if profile else (None, "")
    if transform is None:
        return image
    solid = image if image.mode == taken else image.convert(taken)
    converted = ImageCms.applyTransform(solid, transform)
    if converted is None:  # it would be, had the transform been asked to work in place
        return image
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted
