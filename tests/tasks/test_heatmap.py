"""Heat over an image: grey where it is cold, coloured where it is hot, and readable without telling red from green."""

import numpy as np
import pytest

from skipway.attribution.heatmap import coloured, overlay


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours (..., 3) in 0 to 255."""
    c = colours / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_hotter_is_lighter_at_every_step() -> None:
    steps = np.diff(lightness(coloured(np.linspace(0, 1, 64)).astype(float)))
    assert (steps > 0).all()


def test_colours_appear_with_heat_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    heat = np.zeros((6, 8))
    heat[:, 4:] = 0.7
    found = overlay(image, heat).astype(int)
    spread = found.max(2) - found.min(2)
    assert found.shape == (6, 8, 3)
    assert spread[:, :4].max() <= 1, "cold is grey"
    assert spread[:, 4:].min() > 40, "hot is not"


def test_the_image_stays_visible_under_the_hottest_place() -> None:
    image = np.zeros((1, 2, 3), dtype=np.uint8)
    image[0, 1] = 255
    dark, light = overlay(image, np.ones((1, 2)))[0].astype(int)
    assert (light - dark >= 50).all()


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        overlay(np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((4, 5)))
