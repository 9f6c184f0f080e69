"""Colour profiles (ICC, version 2) made from their numbers, as small as they may be."""

import struct
from collections.abc import Sequence

import numpy as np

# XYZ of the primaries, adapted to D50, as Adobe RGB (1998), Display P3 and sRGB have them; a column a primary.
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
WHITE = (0.9642, 1.0, 0.8249)


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def srgb_curve() -> bytes:
    values = np.arange(1024) / 1023
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return b"curv" + bytes(4) + struct.pack(">I", 1024) + (linear * 65535).round().astype(">u2").tobytes()


def xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + fixed(*values)


def profile(space: bytes, kind: bytes, connection: bytes, **tags: bytes) -> bytes:
    """A profile of the colour space `space`, of the class `kind`."""
    text = b"made for a test\0"
    held = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)}
    held |= {b"cprt": b"text" + bytes(4) + text, b"wtpt": xyz(WHITE)}
    held |= {name.encode(): content for name, content in tags.items()}
    table, body = struct.pack(">I", len(held)), b""
    start = 128 + 4 + 12 * len(held)
    for name, content in held.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"test", 0x02400000, kind, space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*WHITE)
    return header.ljust(128, b"\0") + table + body


def rgb_profile(primaries: np.ndarray, response: bytes) -> bytes:
    """Three primaries and one response: what cameras and screens have."""
    colours = {f"{name}XYZ": xyz(primaries[:, i]) for i, name in enumerate("rgb")}
    return profile(b"RGB ", b"mntr", b"XYZ ", **colours, **{f"{name}TRC": response for name in "rgb"})


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", b"mntr", b"XYZ ", kTRC=curve(gamma))


def ink_profile() -> bytes:
    """A press whose four inks all print grey: each takes a quarter of the lightness."""
    amounts = np.stack(np.meshgrid(*[(0, 1)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    lightness = np.round(255 * (1 - amounts.mean(1)))
    lab = np.stack([lightness, np.full(16, 128), np.full(16, 128)], axis=1).astype(np.uint8).tobytes()
    straight = bytes(range(256))
    content = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return profile(b"CMYK", b"prtr", b"Lab ", A2B0=content + straight * 4 + lab + straight * 3)
