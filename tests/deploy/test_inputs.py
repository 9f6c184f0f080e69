"""Whatever an image is given as, its answer is that of its file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipway.deploy.predict.predictor import Prediction, Predictor
from skipway.errors import DataError, SkipwayError
from skipway.hardware import decide

from .conftest import CLASSES, photographs


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(run, decide("cpu", workers=2))


def save_jpeg(folder: Path) -> Path:
    Image.fromarray(photographs(1)[0]).save(folder / "i.jpg")
    return folder / "i.jpg"


def save_turned(folder: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photographs(1)[0]).save(folder / "i.jpg", exif=exif)
    return folder / "i.jpg"


def save_palette(folder: Path) -> Path:
    image = Image.fromarray(photographs(1)[0]).quantize(16)
    image.save(folder / "i.png", transparency=3)
    return folder / "i.png"


def save_16_bits(folder: Path) -> Path:
    Image.fromarray((photographs(1)[0][..., 0].astype(np.uint16) * 250) + 3).save(folder / "i.png")
    return folder / "i.png"


def save_cmyk(folder: Path) -> Path:
    Image.fromarray(photographs(1)[0]).convert("CMYK").save(folder / "i.jpg")
    return folder / "i.jpg"


def save_cmyk_without_marker(folder: Path) -> Path:
    """Without Adobe's segment, which says that ink is stored inverted."""
    content = save_cmyk(folder).read_bytes()
    start = content.index(b"\xff\xee")
    end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    (folder / "i.jpg").write_bytes(content[:start] + content[end:])
    return folder / "i.jpg"


def save_alpha(folder: Path) -> Path:
    pixels = photographs(1)[0]
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(folder / "i.png")
    return folder / "i.png"


def save_grey(folder: Path) -> Path:
    Image.fromarray(photographs(1)[0][..., 0]).save(folder / "i.png")
    return folder / "i.png"


def save_animation(folder: Path) -> Path:
    first, *others = (Image.fromarray(np.resize(pixels, (32, 32, 3))) for pixels in photographs(3))
    first.save(folder / "i.gif", save_all=True, append_images=others)
    return folder / "i.gif"


SAVED = [
    *(save_jpeg, save_turned, save_palette, save_16_bits, save_cmyk, save_cmyk_without_marker),
    *(save_alpha, save_grey, save_animation),
]


@pytest.mark.parametrize("save", SAVED, ids=lambda save: save.__name__)
def test_a_pillow_image_is_answered_as_its_file_to_the_digit(
    predictor: Predictor, save: Callable[[Path], Path], tmp_path: Path
) -> None:
    file = save(tmp_path)
    of_file = predictor.predict(file, top=8)
    assert of_file.classes
    with Image.open(file) as image:
        before = (image.mode, image.size, image.format)
        answers = [predictor.predict(image, top=8), *predictor.predict([image, image], top=8)]
        assert (image.mode, image.size, image.format) == before
    answers += [predictor.predict(str(file), top=8), predictor.predict(file.read_bytes(), top=8)]
    assert [answer.classes for answer in answers] == [of_file.classes] * 5


def test_a_pillow_image_of_memory_is_answered_as_its_pixels(predictor: Predictor) -> None:
    for pixels in photographs(3):
        assert predictor.predict(Image.fromarray(pixels)).classes == predictor.predict(pixels).classes


def test_an_image_may_be_closed_as_soon_as_the_next_is_asked_for(predictor: Predictor, make_images) -> None:
    files = make_images(5)

    def opened():
        for file in files:
            with Image.open(file) as image:
                yield image

    expected = [answer.classes for answer in predictor.predict(files)]
    assert [answer.classes for answer in predictor.predict(opened())] == expected


def test_arrays_and_tensors_are_answered_as_files_of_them(predictor: Predictor, tmp_path: Path) -> None:
    colour = photographs(1)[0]
    grey = colour[..., 0].copy()
    for pixels, tensor in (
        (colour, torch.from_numpy(colour).permute(2, 0, 1)),
        (grey, torch.from_numpy(grey)[None]),
        (grey[..., None], torch.from_numpy(grey)),
    ):
        Image.fromarray(np.squeeze(pixels)).save(tmp_path / "i.png")
        expected = predictor.predict(tmp_path / "i.png", top=8).classes
        assert predictor.predict(pixels, top=8).classes == expected
        assert predictor.predict(tensor, top=8).classes == expected


def test_one_image_gives_one_prediction_and_several_give_as_many(predictor: Predictor, make_images) -> None:
    files = make_images(4)
    one = predictor.predict(files[0])
    assert isinstance(one, Prediction)
    assert (one.label, one.probability) == one.classes[0]
    expected = [(str(file), predictor.predict(file).classes) for file in files]
    folder = files[0].parent
    several = (files, tuple(map(str, files)), (file for file in files), folder, str(folder), f"{folder}/*.png")
    for images in several:
        answers = predictor.predict(images)
        assert not isinstance(answers, Prediction)
        assert [(answer.name, answer.classes) for answer in answers] == expected


def test_what_is_no_image_is_refused_in_one_line(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n")
    with (tmp_path / "a.txt").open() as file:
        wrong = [(3, "type int is no image"), (None, "type NoneType is"), (file, "type TextIOWrapper is no image")]
        wrong += [([None], "image 0 is of type NoneType"), (tmp_path, "has no image")]
        for images, words in wrong:
            with pytest.raises(SkipwayError, match=words) as caught:
                list(predictor.predict(images))  # type: ignore[call-overload]
            assert "\n" not in str(caught.value)
    with pytest.raises(SkipwayError, match="top must be at least 1, and is 0"):
        predictor.predict([], top=0)


def test_an_image_that_cannot_be_read_says_so_and_stops_no_other(predictor: Predictor, make_images) -> None:
    good = make_images(1)[0]
    Path(good.parent / "cut.png").write_bytes(good.read_bytes()[:300])
    truncated = Image.open(good.parent / "cut.png")
    images = [good, truncated, torch.rand(3, 8, 8), np.zeros((2, 8, 8, 3), np.uint8), torch.zeros(1, 3, 8, 8).byte()]
    answers = list(predictor.predict([*images, np.zeros((8, 8)), Image.new("F", (8, 8)), good]))
    assert [bool(answer.error) for answer in answers] == [False, True, True, True, True, True, True, False]
    words = ("image 1 cannot be read", "tensor of float32: uint8", "image 3 has the shape", "image 4 has the shape")
    for answer, said in zip(answers[1:], words, strict=False):
        assert said in answer.error
    with pytest.raises(DataError, match="image 2 is a tensor of float32"):
        _ = answers[2].label
    truncated.close()


def test_probabilities_of_all_classes_are_those_of_predictions(predictor: Predictor) -> None:
    images = photographs(7)
    found = predictor.predict_proba(images)
    assert predictor.classes == tuple(CLASSES)
    assert (found.dtype, found.shape) == (np.float32, (7, 8))
    for row, answer in zip(found, predictor.predict(images, top=8), strict=True):
        assert dict(zip(CLASSES, row.tolist(), strict=True)) == dict(answer.classes)
    assert np.array_equal(predictor.predict_proba(images[0]), found[:1])
    assert predictor.predict_proba([]).shape == (0, 8)
    with pytest.raises(DataError, match=r"none\.png cannot be read"):
        predictor.predict_proba([images[0], "none.png"])
