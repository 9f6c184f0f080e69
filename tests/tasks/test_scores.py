"""Losses and scores against plain arithmetic, and scores that do not depend on an image's companions."""

import numpy as np
import pytest
import torch

from skipway import models
from skipway.data.preprocess import Preprocessing
from skipway.tasks import Classify
from skipway.tasks.inference import batch_size, scores_of

CPU = torch.device("cpu")


def test_perfect_scores_one_and_random_scores_chance() -> None:
    task, labels = Classify(tuple("abcdefghij")), torch.arange(5000) % 10
    perfect = task.meter(torch.eye(10)[labels] * 20, labels)
    assert (perfect["top1"], perfect["top5"]) == (1.0, 1.0)
    assert perfect["loss"] < 1e-6
    random = task.meter(torch.randn(5000, 10), labels)
    assert random["top1"] == pytest.approx(0.1, abs=0.02)
    assert random["top5"] == pytest.approx(0.5, abs=0.03)


def test_top_five_of_three_classes_counts_them_all() -> None:
    assert Classify(("a", "b", "c")).meter(torch.randn(30, 3), torch.arange(30) % 3)["top5"] == 1.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_numpys_cross_entropy(smoothing: float) -> None:
    scores, labels = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 4
    raw = scores.numpy()
    logs = raw - np.log(np.exp(raw).sum(1, keepdims=True))
    weights = np.eye(4)[labels.numpy()] * (1 - smoothing) + smoothing / 4
    found = Classify(tuple("abcd")).loss(scores, labels, smoothing).item()
    assert found == pytest.approx(-(weights * logs).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize(("name", "stem"), [("resnet20", "small"), ("resnet18", "small")])
def test_an_images_scores_are_the_same_whatever_it_came_with(name: str, stem: str) -> None:
    torch.manual_seed(0)
    net = models.build(name, 5, stem=stem).to(memory_format=torch.channels_last)
    record = Preprocessing(3, 32, 32, (0.5,) * 3, (0.2,) * 3)
    full = batch_size(CPU)
    images = torch.randint(0, 256, (full, 3, 32, 32), dtype=torch.uint8)
    together = next(scores_of(net, [images], record, CPU))
    for place in (0, 3, full - 1):
        alone = next(scores_of(net, [images[place : place + 1]], record, CPU))
        assert torch.equal(alone[0], together[place])
    turned = next(scores_of(net, [images.flip(0)], record, CPU))
    assert torch.equal(turned.flip(0), together)
    assert not net.training
