"""Nearest training images and copies, against every difference in NumPy and planted copies."""

import numpy as np
import pytest
import torch
from torch import Tensor

from skipway.errors import SkipwayError
from skipway.tasks.generate import copies, manifold
from skipway.tasks.generate.copies import nearest_training


def images(n: int, seed: int, shape: tuple[int, ...] = (3, 8, 6)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)


def every_distance(a: Tensor, b: Tensor) -> np.ndarray:
    one, other = (x.double().flatten(1).numpy() for x in (a, b))
    return np.sqrt(((one[:, None] - other[None]) ** 2).sum(2))


@pytest.mark.parametrize("numbers", [manifold.NUMBERS, 700])
def test_the_two_nearest_are_those_of_every_pair_to_the_last_digit(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where images are compared five and four at a time."""
    monkeypatch.setattr(manifold, "NUMBERS", numbers)
    monkeypatch.setattr(copies, "QUERIES", 5)
    some, training = images(23, 0), images(60, 1)
    found, distances = nearest_training(some, training), every_distance(some, training)
    assert (found.indices == np.argsort(distances, 1, kind="stable")[:, :2]).all()
    assert (found.distances == np.sort(distances, 1)[:, :2]).all()
    assert (found.ratio == found.distances[:, 0] / found.distances[:, 1]).all()


def test_float_images_find_the_same_as_uint8_ones() -> None:
    some, training = images(12, 0), images(40, 1)
    found = nearest_training(some, training)
    scaled = nearest_training(some.double() / 127.5 - 1, training.double() / 127.5 - 1)
    assert (scaled.indices == found.indices).all() and (scaled.same == found.same).all()
    assert scaled.distances * 127.5 == pytest.approx(found.distances, rel=1e-9)


def test_planted_copies_are_found_and_their_share_is_exact() -> None:
    training, some = images(50, 1), images(20, 0)
    generator = torch.Generator().manual_seed(2)
    some[3] = training[7]
    some[11] = training[49]
    some[5] = (training[20].int() + torch.randint(-9, 10, some[5].shape, generator=generator)).clamp(0, 255)
    found = nearest_training(some, training)
    assert found.share == 3 / 20
    assert found.copied.nonzero()[0].tolist() == [3, 5, 11]
    assert found.indices[[3, 5, 11], 0].tolist() == [7, 20, 49]
    assert found.same.nonzero()[0].tolist() == [3, 11], "the third copy is noisy, and known by its ratio"
    assert set(found.most_alike(3).tolist()) == {3, 5, 11} and found.most_alike(3)[2] == 5
    assert len(found.most_alike(100)) == 20


def test_images_between_two_training_images_are_no_copies_before_a_third() -> None:
    """On the way from one training image to another, the ratio of the distances is s / (1 - s): a third at s = 1/4."""
    ends = torch.stack([torch.full((1, 4, 4), -1.0), torch.full((1, 4, 4), 1.0)])
    shares = torch.tensor([0.1, 0.24, 0.26, 0.5])
    found = nearest_training(ends[0] + shares.view(-1, 1, 1, 1) * (ends[1] - ends[0]), ends)
    assert found.ratio == pytest.approx((shares / (1 - shares)).numpy(), rel=1e-6)
    assert found.copied.tolist() == [True, True, False, False]


def test_copies_of_an_image_that_the_training_set_holds_twice_are_found() -> None:
    training = images(10, 1)
    training[6] = training[2]
    off_by_one = training[2].int().clamp(0, 254) + 1
    found = nearest_training(torch.stack([training[2], off_by_one.to(torch.uint8)]), training)
    assert found.indices.tolist() == [[2, 6], [2, 6]]
    assert (found.ratio == 1).all() and found.copied.all()


def test_images_of_the_same_distribution_are_no_copies() -> None:
    assert nearest_training(images(50, 0), images(200, 1)).share == 0


@pytest.mark.parametrize(
    ("some", "training", "said"),
    [
        (images(3, 0), images(1, 1), "1 training images: two or more"),
        (images(0, 0), images(5, 1), "no images"),
        (images(3, 0), images(5, 1).float(), "torch.uint8 and training images torch.float32"),
        (images(3, 0).int(), images(5, 1).int(), "torch.int32"),
        (images(3, 0), images(5, 1, (1, 8, 6)), r"\(3, 8, 6\) and training images \(1, 8, 6\)"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(some: Tensor, training: Tensor, said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        nearest_training(some, training)
