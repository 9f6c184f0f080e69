"""Weights and draws against NumPy and scikit-learn, and that balance does what it is for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from skipway import hardware
from skipway.data.dataset import Dataset, Split
from skipway.data.loader import BatchSampler
from skipway.tasks import task_for
from skipway.tasks.classify.class_balance import (
    class_weights,
    positive_weights,
    sampling_weights,
)
from skipway.tasks.classify.task import Classify
from skipway.training.dataloaders import batch_sampler
from skipway.training.recipes import QUICK, Recipe
from skipway.training.setup import setup_training

CPU = hardware.decide(device="cpu", workers=0)
LABELS = np.repeat(np.arange(4), (90, 9, 30, 1))


def source_of(labels: np.ndarray, classes: int) -> Dataset:
    """Noise with these labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    return Dataset("noise", tuple("abcdefgh"[:classes]), Split(pixels, labels, [str(i) for i in range(len(labels))]))


def loss_weights(dataset: Dataset) -> np.ndarray:
    return task_for(dataset).loss_weights(dataset)


def describe(dataset: Dataset, recipe: Recipe) -> str:
    return task_for(dataset).describe(dataset, vars(recipe))


def test_class_weights_are_scikit_learns_and_their_mean_over_the_images_is_1() -> None:
    found = class_weights(LABELS, 4)
    np.testing.assert_allclose(found, compute_class_weight("balanced", classes=np.arange(4), y=LABELS), rtol=1e-6)
    assert found[LABELS].mean() == pytest.approx(1)
    np.testing.assert_allclose(found * np.bincount(LABELS), 130 / 4, rtol=1e-6)


def test_a_class_without_images_weighs_nothing_and_changes_no_other() -> None:
    np.testing.assert_array_equal(class_weights(LABELS, 5), [*class_weights(LABELS, 4), 0])


def test_presence_weights_are_absent_over_present_within_limits() -> None:
    labels = np.zeros((1000, 5), dtype=np.uint8)
    for column, count in enumerate((500, 100, 1, 0, 1000)):
        labels[:count, column] = 1
    np.testing.assert_allclose(positive_weights(labels), [1, 9, 100, 1, 0.01], rtol=1e-6)


def test_classes_are_drawn_alike_within_the_binomial_deviation() -> None:
    order = BatchSampler(130, 26, 0, sampling_weights(LABELS, 4))
    drawn = LABELS[torch.cat([picked for epoch in range(200) for picked in order.batches(epoch)]).numpy()]
    deviation = np.sqrt(0.25 * 0.75 / len(drawn))
    assert (np.abs(np.bincount(drawn) / len(drawn) - 0.25) < 4 * deviation).all()


def test_chances_of_one_class_an_image_are_scikit_learns() -> None:
    expected = compute_sample_weight("balanced", LABELS)
    np.testing.assert_allclose(sampling_weights(LABELS, 4), expected / expected.sum())
    np.testing.assert_allclose(sampling_weights(LABELS, 6), expected / expected.sum())  # two classes without an image


def test_chances_of_tags_are_those_of_a_class_and_then_an_image_of_it() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 4)) < (0.7, 0.3, 0.05, 0)).astype(np.uint8)
    groups = [np.flatnonzero(column) for column in labels.T if column.any()] + [np.flatnonzero(labels.sum(1) == 0)]
    expected = np.zeros(40)
    for members in groups:
        expected[members] += 1 / len(groups) / len(members)
    found = sampling_weights(labels, 4)
    np.testing.assert_allclose(found, expected)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("labels", [LABELS, np.eye(4, dtype=np.uint8)[LABELS]], ids=["classes", "tags"])
def test_each_of_two_processes_computes_the_same_from_the_whole_training_set(labels: np.ndarray) -> None:
    """Without any process group: what a rank needs follows from the data alone, and its share of each batch too."""
    ranks = [source_of(labels, 4) for _ in range(2)]
    assert np.array_equal(*(loss_weights(dataset) for dataset in ranks))
    recipe = replace(QUICK, balance="sampler", batch=26)
    alone = batch_sampler(ranks[0], task_for(ranks[0]), recipe)
    shares = [
        replace(batch_sampler(dataset, task_for(dataset), recipe), rank=rank, world=2)
        for rank, dataset in enumerate(ranks)
    ]
    for whole, *parts in zip(alone.batches(1), *(share.batches(1) for share in shares), strict=True):
        assert torch.equal(torch.stack(parts, 1).flatten(), whole)
    halves = [LABELS[torch.cat(list(share.batches(0))).numpy()] for share in shares]
    assert all(np.bincount(half, minlength=4)[3] > 5 for half in halves), "the one image of the last class, in both"


@pytest.mark.parametrize("labels", [LABELS, np.eye(4, dtype=np.uint8)[LABELS]], ids=["classes", "tags"])
def test_weights_of_a_run_are_of_what_it_trains_on_and_only_when_asked_for(labels: np.ndarray) -> None:
    dataset, quiet = source_of(labels, 4), Console(quiet=True)
    weighed = setup_training(dataset, replace(QUICK, balance="weights"), CPU, quiet)
    assert weighed.task.class_weights is not None
    np.testing.assert_array_equal(weighed.task.class_weights, loss_weights(weighed.dataset))
    assert weighed.batches.order.weights is None
    drawn = setup_training(dataset, replace(QUICK, balance="sampler"), CPU, quiet)
    assert drawn.task.class_weights is None
    assert drawn.batches.order.weights is not None
    assert len(drawn.batches.order.weights) == len(drawn.dataset.train) < len(labels)
    plain = setup_training(dataset, QUICK, CPU, quiet)
    assert (plain.task.class_weights, plain.batches.order.weights) == (None, None)


def balanced_accuracy(train: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """Of a linear classifier of two overlapping clouds, 9 to 1, judged on as many of each class."""
    rng = np.random.default_rng(0)

    def clouds(*counts: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat([0, 1], counts)
        return rng.normal(labels[:, None] * 1.5, 1, (len(labels), 2)).astype(np.float32), labels

    scores = train(*clouds(900, 100))(clouds(500, 500)[0])
    said = scores.argmax(1)
    return float(((said[:500] == 0).mean() + (said[500:] == 1).mean()) / 2)


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_balance_raises_the_balanced_accuracy_of_nine_to_one(balance: str) -> None:
    def trained(how: str) -> Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
        def train(points: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            weights = torch.from_numpy(class_weights(labels, 2)) if how == "weights" else None
            net, task = torch.nn.Linear(2, 2), Classify(("common", "rare"), class_weights=weights)
            chances = sampling_weights(labels, 2) if how == "sampler" else None
            optimiser = torch.optim.SGD(net.parameters(), lr=0.3)
            for epoch in range(20):
                for picked in BatchSampler(len(labels), 50, 0, chances).batches(epoch):
                    optimiser.zero_grad()
                    scores = net(torch.from_numpy(points[picked]))
                    task.score_loss(scores, torch.from_numpy(labels[picked])).backward()
                    optimiser.step()
            return lambda others: net(torch.from_numpy(others)).detach().numpy()

        return train

    without, with_it = balanced_accuracy(trained("none")), balanced_accuracy(trained(balance))
    assert without < 0.78
    assert with_it > without + 0.05
    assert with_it == pytest.approx(0.856, abs=0.03), "the best that a line can do: Phi(1.5 / sqrt 2)"


def test_the_plan_says_how_unequal_the_classes_are_and_what_is_done() -> None:
    dataset = source_of(LABELS, 4)
    text = describe(dataset, QUICK)
    assert "4 classes, the largest 'a' with 90 training images, the smallest 'd' with 1 (90 to 1)" in text
    assert "balance none" in text
    assert "balance weights: 0.361 to 32.5 in the loss" in describe(dataset, replace(QUICK, balance="weights"))
    assert "equally likely" in describe(dataset, replace(QUICK, balance="sampler"))
    assert "'e' with 0 (no image in train)" in describe(source_of(LABELS, 5), QUICK)
    rare = np.zeros((300, 2), dtype=np.uint8)
    rare[:150, 0], rare[0, 1] = 1, 1
    assert "clipped at 0.01 and 100" in describe(source_of(rare, 2), replace(QUICK, balance="weights"))
    assert "clipped" not in describe(source_of(rare[:, :1], 1), replace(QUICK, balance="weights"))
