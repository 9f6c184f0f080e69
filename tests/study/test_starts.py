"""The first steps of training."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skipway.study.engine import context as bench_module
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.runs import Machine, open_cut
from skipway.study.engine.scale import SCALES
from skipway.study.probes import early_training
from skipway.study.probes.early_training import SMOOTH, FirstSteps, ShortTrainer, final_loss, smoothed, steps_to


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    source, decided = open_cut("digits", 64), Machine(precision="float32").decide()
    return ExperimentContext(SCALES["tiny"], (0,), source, (), decided, "", Path(tmp_path_factory.mktemp("memory")))


def test_the_losses_equal_those_of_explicit_momentum(context: ExperimentContext) -> None:
    trainer, rate = ShortTrainer(context, FirstSteps(2, 8, 0)), 0.05
    found = trainer.losses("resnet20", 3, rate)
    net, order = context.untrained("resnet20", 3).train(), torch.Generator().manual_seed(3)
    images, labels = trainer.images
    speeds = [torch.zeros_like(p) for p in net.parameters()]
    for loss in found:
        chosen = torch.randint(64, (8,), generator=order)
        value = F.cross_entropy(net(images[chosen]), labels[chosen])
        assert value.item() == pytest.approx(loss, abs=1e-3)
        gradients = torch.autograd.grad(value, list(net.parameters()))
        with torch.no_grad():
            for p, speed, gradient in zip(net.parameters(), speeds, gradients, strict=True):
                speed.mul_(0.9).add_(gradient + 1e-4 * p)
                p.sub_(rate * speed)


def test_images_have_the_requested_size(context: ExperimentContext) -> None:
    images, labels = ShortTrainer(context, FirstSteps(1, 8, 4)).images
    assert images.shape == (64, 1, 4, 4)
    assert len(labels) == 64


def test_a_non_finite_loss_ends_the_steps(context: ExperimentContext) -> None:
    losses = ShortTrainer(context, FirstSteps(4, 8, 0)).losses("plain20_bare", 0, 1e30)
    assert 1 <= len(losses) < 4
    assert final_loss(losses, 4) == math.inf


def test_smoothing_is_a_causal_moving_average() -> None:
    losses = np.random.default_rng(0).random(3 * SMOOTH)
    smooth = smoothed(losses.tolist())
    assert smooth[0] == losses[0]
    assert smooth[SMOOTH - 1 :] == pytest.approx(np.convolve(losses, np.ones(SMOOTH) / SMOOTH, "valid"))
    assert final_loss(losses.tolist(), len(losses)) == smooth[-1]


def test_steps_to_a_loss_are_counted_from_one() -> None:
    assert steps_to([2.0, 1.0], 2.0) == 1
    assert steps_to([3.0, 1.0], 2.0) == 2
    assert steps_to([3.0, 3.0], 2.0) is None


def test_measurements_are_cached_by_images_precision_scale_and_code(
    context: ExperimentContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def measure(of: ExperimentContext) -> int:
        return of.cached("a part", early_training.__file__, ["a training"], lambda: made.append(1) or len(made))

    context = replace(context, cache_dir=tmp_path)
    assert measure(context) == measure(context) == 1
    assert measure(replace(context, seeds=(0, 1, 2), weights="others.th")) == 1  # which that part does not see
    assert measure(replace(context, hardware=replace(context.hardware, dtype=torch.bfloat16))) == 2
    assert measure(replace(context, scale=SCALES["small"])) == 3
    monkeypatch.setattr(bench_module, "code_of_measurement", lambda _: "other code")
    assert measure(context) == 4
