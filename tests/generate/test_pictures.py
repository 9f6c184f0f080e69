"""Grids and files of generated images: no pixel is changed, and the text says how an image was made."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from skipway.deploy.generate import pictures
from skipway.deploy.generate.pictures import as_picture, grid, grid_rows, interpolation_rows, png
from skipway.errors import SkipwayError
from skipway.tasks.generate.grid import GAP


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Type and data of each chunk of a PNG file, read as its specification says (W3C, PNG, section 5)."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data = content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0]
        found.append((kind, data))
        at += 12 + length
    return found


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_png_has_the_very_pixels_and_their_channels(channels: int, mode: str) -> None:
    pixels = noise(5, 7, channels)
    with Image.open(io.BytesIO(png(as_picture(pixels), {}))) as opened:
        assert (opened.mode, opened.size) == (mode, (7, 5))
        assert np.array_equal(np.asarray(opened).reshape(5, 7, channels), pixels)


def test_images_of_five_channels_are_refused_in_one_line() -> None:
    with pytest.raises(SkipwayError, match="images of 5 channels are no PNG"):
        as_picture(noise(4, 4, 5))


def test_text_of_latin_letters_is_in_text_chunks_and_of_others_in_utf8() -> None:
    content = chunks(png(as_picture(noise(4, 4, 1)), {"class": "café", "seed": "3", "Title": "猫"}))
    texts = [data for kind, data in content if kind == b"tEXt"]
    assert texts == ["class\0café".encode("latin-1"), b"seed\x003"]
    [international] = [data for kind, data in content if kind == b"iTXt"]
    assert international == b"Title\0\0\0\0\0" + "猫".encode()


def test_one_class_is_arranged_in_a_square() -> None:
    assert grid_rows(["7"] * 64) == np.arange(64).reshape(8, 8).tolist()
    assert [len(row) for row in grid_rows([None] * 7)] == [3, 3, 1]
    assert grid_rows(["7"]) == [[0]]


def test_classes_in_turn_have_a_row_each() -> None:
    labels = [str(i % 10) for i in range(60)]
    rows = grid_rows(labels)
    assert [[labels[position] for position in row] for row in rows] == [[str(i)] * 6 for i in range(10)]
    assert rows[3] == [3, 13, 23, 33, 43, 53]


def test_few_classes_of_many_images_have_several_rows_each_and_share_none() -> None:
    labels = ["a", "b"] * 32
    rows = grid_rows(labels)
    assert (len(rows), {len(row) for row in rows}) == (8, {8})
    assert all(len({labels[position] for position in row}) == 1 for row in rows)


@pytest.mark.parametrize(("n", "classes"), [(64, 10), (1, 1), (100, 100), (77, 50), (500, 3), (1000, 1000), (9, 8)])
def test_every_image_is_in_the_grid_once_and_the_grid_is_no_strip(n: int, classes: int) -> None:
    rows = grid_rows([str(i % classes) for i in range(n)])
    assert sorted(position for row in rows for position in row) == list(range(n))
    columns = max(map(len, rows))
    assert max(len(rows) / columns, columns / len(rows)) <= max(pictures.OBLONG, n if n < 4 else 0)


def test_small_images_are_enlarged_by_whole_pixels_with_gaps_between_them() -> None:
    images = [noise(8, 6, 3, seed=i) for i in range(5)]
    sheet = grid(images, [[0, 1, 2], [3, 4]])
    factor = 8  # 8 pixels become 64
    assert sheet.shape == (2 * 64 + GAP, 3 * 48 + 2 * GAP, 3)
    for i, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
        top, left = row * (64 + GAP), column * (48 + GAP)
        cell = sheet[top : top + 64, left : left + 48]
        assert np.array_equal(cell, np.kron(images[i], np.ones((factor, factor, 1), np.uint8)))
    assert (sheet[64 : 64 + GAP] == 255).all()
    assert (sheet[64:, 2 * (48 + GAP) :] == 255).all()


def test_large_images_keep_their_size_and_gaps_of_alpha_are_clear() -> None:
    images = [noise(70, 65, 4, seed=i) for i in range(2)]
    sheet = grid(images, [[0, 1]])
    assert sheet.shape == (70, 2 * 65 + GAP, 4)
    assert np.array_equal(sheet[:, :65], images[0])
    assert (sheet[:, 65 : 65 + GAP, 3] == 0).all()


def test_an_interpolation_has_a_row_from_each_image_to_the_next() -> None:
    assert interpolation_rows(9, 3) == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    assert interpolation_rows(3, 1) == [[0, 1, 2]]
