"""Colours of classes in label maps: those of Pascal VOC, which most viewers of masks use."""

import numpy as np


def palette(classes: int) -> np.ndarray:
    """uint8 (classes, 3), red, green and blue of each class; the first is black.

    Bits 0, 3 and 6 of a class's index are the highest bits of red, bits 1, 4 and 7 of green, bits 2, 5 and 8 of blue,
    and so on (VOC development kit, VOClabelcolormap.m). Up to 256 colours are all different.
    """
    index = np.arange(classes)
    colours = np.zeros((classes, 3), dtype=np.int64)
    for level in range(8):
        for channel in range(3):
            colours[:, channel] |= (index >> 3 * level + channel & 1) << 7 - level
    return colours.astype(np.uint8)
