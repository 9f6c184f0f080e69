"""The first steps of a training."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skipway.study import bench as bench_module
from skipway.study import starts
from skipway.study.bench import Bench
from skipway.study.contract import SCALES
from skipway.study.runs import Machine, open_cut
from skipway.study.starts import SMOOTH, Beginner, Start, final, smoothed, steps_to


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    source, decided = open_cut("digits", 64), Machine(precision="float32").decide()
    return Bench(SCALES["tiny"], (0,), source, (), decided, "", Path(tmp_path_factory.mktemp("memory")))


def test_the_losses_are_those_of_momentum_written_out(bench: Bench) -> None:
    beginner, rate = Beginner(bench, Start(2, 8, 0)), 0.05
    found = beginner.losses("resnet20", 3, rate)
    net, order = bench.fresh("resnet20", 3).train(), torch.Generator().manual_seed(3)
    images, labels = beginner.images
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


def test_images_come_at_the_size_that_is_asked_for(bench: Bench) -> None:
    images, labels = Beginner(bench, Start(1, 8, 4)).images
    assert images.shape == (64, 1, 4, 4)
    assert len(labels) == 64


def test_a_loss_that_is_no_number_ends_the_steps(bench: Bench) -> None:
    losses = Beginner(bench, Start(4, 8, 0)).losses("plain20_bare", 0, 1e30)
    assert 1 <= len(losses) < 4
    assert final(losses, 4) == math.inf


def test_smoothing_is_a_mean_over_a_window_that_only_looks_back() -> None:
    losses = np.random.default_rng(0).random(3 * SMOOTH)
    smooth = smoothed(losses.tolist())
    assert smooth[0] == losses[0]
    assert smooth[SMOOTH - 1 :] == pytest.approx(np.convolve(losses, np.ones(SMOOTH) / SMOOTH, "valid"))
    assert final(losses.tolist(), len(losses)) == smooth[-1]


def test_steps_to_a_loss_are_counted_from_one() -> None:
    assert steps_to([2.0, 1.0], 2.0) == 1
    assert steps_to([3.0, 1.0], 2.0) == 2
    assert steps_to([3.0, 3.0], 2.0) is None


def test_what_was_measured_is_kept_for_the_same_images_arithmetic_and_code(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def measure(of: Bench) -> int:
        return of.keep("a part", starts.__file__, ["a training"], lambda: made.append(1) or len(made))

    bench = replace(bench, memory=tmp_path)
    assert measure(bench) == measure(bench) == 1
    assert measure(replace(bench, seeds=(0, 1, 2), weights="others.th")) == 1  # which that part does not see
    assert measure(replace(bench, hardware=replace(bench.hardware, dtype=torch.bfloat16))) == 2
    assert measure(replace(bench, scale=SCALES["small"])) == 3
    monkeypatch.setattr(bench_module, "code_of_study", lambda _: "other code")
    assert measure(bench) == 4
