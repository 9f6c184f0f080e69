"""Muon on kernels against torch's on matrices, and the split of parameters between it and SGD."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from skipway import hardware, models
from skipway.bundle import read_weights
from skipway.data import open_dataset
from skipway.training import loop
from skipway.training.muon import ConvolutionMuon
from skipway.training.optimiser import optimisers, set_rate
from skipway.training.recipes import FAST_CIFAR, QUICK

MUON = replace(FAST_CIFAR, optimiser="muon")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_moves_as_torchs_muon_moves_the_matrix_of_its_rows(layout: torch.memory_format) -> None:
    start, pulls = torch.randn(8, 4, 3, 3), [torch.randn(8, 4, 3, 3) for _ in range(3)]
    kernel = torch.nn.Parameter(start.clone().to(memory_format=layout))
    matrix = torch.nn.Parameter(start.flatten(1).clone())
    group = {"lr": 0.1, "weight_decay": 0.01}
    ours = ConvolutionMuon([{"params": [kernel], **group}], 0.9, nesterov=True)
    theirs = torch.optim.Muon([matrix], momentum=0.9, nesterov=True, **group)
    for pull in pulls:
        kernel.grad, matrix.grad = pull.clone(), pull.flatten(1).clone()
        ours.step()
        theirs.step()
    # the iteration runs in bfloat16, where another order of columns sums in another order
    moved = (matrix - start.flatten(1)).norm()
    assert (kernel.flatten(1) - matrix).norm() < 0.02 * moved
    assert moved > 0.5


def test_an_update_is_nearly_orthogonal() -> None:
    kernel = torch.nn.Parameter(torch.zeros(8, 4, 3, 3))
    ours = ConvolutionMuon([{"params": [kernel], "lr": 1.0, "weight_decay": 0.0}], 0.0, nesterov=False)
    kernel.grad = torch.randn(8, 4, 3, 3)
    ours.step()
    values = np.linalg.svd(kernel.detach().flatten(1).numpy(), compute_uv=False)
    assert 0.6 < values.min() <= values.max() < 1.3, "every direction of the matrix moves about equally far"


def test_every_parameter_is_trained_once_and_the_first_convolution_by_sgd() -> None:
    net = models.build("resnet20")
    sgd, muon = optimisers(net, MUON)
    assert isinstance(muon, ConvolutionMuon)
    by_sgd = {id(p) for group in sgd.param_groups for p in group["params"]}
    by_muon = {id(kernel) for group in muon.param_groups for kernel in group["params"]}
    assert not by_sgd & by_muon
    assert by_sgd | by_muon == {id(p) for p in net.parameters()}
    assert id(net.conv1.weight) in by_sgd
    assert len(by_muon) == 18
    set_rate([sgd, muon], 0.4)
    assert {group["lr"] for group in muon.param_groups} == {0.4 * MUON.muon_rate}


def test_frozen_kernels_stay() -> None:
    net = models.build("resnet20")
    kernel = net.layer1[0].conv1.weight
    before = kernel.detach().clone()
    trained = optimisers(net, MUON)
    net.layer1.requires_grad_(False)
    net(torch.randn(2, 3, 32, 32)).square().sum().backward()
    for optimiser in trained:
        optimiser.step()
    assert torch.equal(kernel, before)
    assert not torch.equal(net.layer2[0].conv1.weight, before)


@pytest.mark.parametrize("last", ["on", "off"])
def test_an_interrupted_run_ends_where_the_whole_one_does(tmp_path: Path, last: str) -> None:
    dataset = open_dataset("digits")
    dataset = replace(dataset, train=dataset.train.take(np.arange(300)), test=None)
    settings = hardware.decide(device="cpu", workers=0, channels_last=last)  # type: ignore[arg-type]
    recipe, quiet = replace(QUICK, optimiser="muon", epochs=2), Console(quiet=True)
    whole = read_weights(loop.train(dataset, recipe, tmp_path / "whole", settings, quiet))
    close_epoch, calls = loop.end_epoch, []

    def stop_at_the_second(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        close_epoch(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "end_epoch", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            loop.train(dataset, recipe, tmp_path / "cut", settings, quiet)
    resumed = read_weights(loop.train(dataset, recipe, tmp_path / "cut", settings, quiet, resume=True))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_a_kernel_without_a_gradient_stays_beside_one_that_moves() -> None:
    """As after a dead unit: the norm of a gradient of zeros is 0."""
    dead, alive = (torch.nn.Parameter(torch.ones(4, 2, 3, 3)) for _ in range(2))
    ours = ConvolutionMuon([{"params": [dead, alive], "lr": 0.1, "weight_decay": 0.0}], 0.9, nesterov=True)
    dead.grad, alive.grad = torch.zeros_like(dead), torch.randn_like(alive)
    ours.step()
    assert torch.equal(dead, torch.ones_like(dead))
    assert alive.isfinite().all()
    assert not torch.equal(alive, torch.ones_like(alive))
