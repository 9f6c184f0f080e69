"""Decoding and inference overlap in order, take a bounded number of images, and give what evaluation gives."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from skipway.data.preprocess import FittedImage
from skipway.deploy.engines.base import Engine, run_synchronously
from skipway.deploy.predict.pipeline import AHEAD, decoders, overlapped
from skipway.deploy.predict.predictor import Predictor
from skipway.errors import DataError, SkipwayError
from skipway.hardware import decide
from skipway.trained import TrainedModel

from .conftest import photographs

BATCH, DEPTH = 4, 2
COUNTING = Engine(
    "counting", "float32", {}, BATCH, DEPTH, run_synchronously(lambda images: images.float().mean((2, 3)))
)


def picture(number: int) -> FittedImage:
    """An image that says its number; every seventh cannot be read."""
    if number % 7 == 3:
        raise DataError(f"image {number} is broken")
    return FittedImage(torch.full((1, 2, 2), number % 251, dtype=torch.uint8), (number, 9))


def test_answers_come_in_order_and_faults_in_their_place() -> None:
    for count in (0, 1, 3, 4, 5, 31, 32):
        found = list(overlapped(range(count), picture, COUNTING, decoders(3)))
        assert [number for number, _ in found] == list(range(count))
        for number, answer in found:
            if number % 7 == 3:
                assert str(answer) == f"image {number} is broken"
            else:
                (mean,), size = answer
                assert float(mean) == number % 251
                assert size == (number, 9)


def test_a_million_images_are_never_taken_at_once() -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield number

    answers = overlapped(numbers(), picture, COUNTING, decoders(2))
    most = 0
    for answered in range(200):
        next(answers)
        most = max(most, taken - answered)
    answers.close()
    assert most <= (AHEAD + DEPTH + 2) * BATCH
    assert taken < 300


def test_a_fault_of_ours_is_not_taken_for_a_bad_image() -> None:
    def broken(number: int) -> FittedImage:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(overlapped(range(9), broken, COUNTING, decoders(2)))


def test_decoders_compute_with_one_thread_each_and_leave_the_others_alone() -> None:
    before, seen = torch.get_num_threads(), set()

    def counted(number: int) -> FittedImage:
        seen.add((torch.get_num_threads(), threading.current_thread().name.startswith("decode")))
        return picture(0)

    list(overlapped(range(8), counted, COUNTING, decoders(2)))
    assert seen == {(1, True)}
    assert torch.get_num_threads() == before


def test_probabilities_are_calibrated(run: Path) -> None:
    """The card's temperature is 2; the scores come from the network called by hand."""
    pixels = photographs(3)
    trained = TrainedModel.load(run)
    net, card = trained.net, trained.card
    predictor = Predictor(run, decide("cpu"))
    images = torch.stack([predictor.preprocessing.open(p, "test") for p in pixels])
    with torch.inference_mode():
        expected = (net(predictor.preprocessing.normalised(images)) / 2).softmax(1)
    for answer, row in zip(predictor.predict(pixels, top=8), expected, strict=True):
        assert [name for name, _ in answer.classes] == [card.classes[i] for i in row.argsort(descending=True)]
        assert dict(answer.classes) == pytest.approx(dict(zip(card.classes, row.tolist(), strict=True)), abs=1e-5)


def test_every_engine_answers_through_the_predictor(run: Path) -> None:
    pixels = photographs(11)
    eager = [a.classes[0] for a in Predictor(run, decide("cpu")).predict(pixels)]
    other = [a.classes[0] for a in Predictor(run, decide("cpu"), "onnxruntime").predict(pixels)]
    assert [name for name, _ in other] == [name for name, _ in eager]
    assert [value for _, value in other] == pytest.approx([value for _, value in eager], abs=1e-5)


def test_a_goal_that_is_none_is_refused(run: Path) -> None:
    with pytest.raises(SkipwayError, match="goal 'speed' is not one of"):
        Predictor(run, decide("cpu"), goal="speed")  # type: ignore[arg-type]
