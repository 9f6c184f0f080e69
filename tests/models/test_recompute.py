"""Activation checkpointing changes memory and nothing else."""

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skipway.models import build
from skipway.models.activation_checkpointing import recompute_stages
from skipway.models.base import Network
from skipway.models.stochastic_depth import add_stochastic_depth


def one_step(net: Network) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Loss, gradients and buffers of a training step on fixed images."""
    torch.manual_seed(5)
    x, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    loss = F.cross_entropy(net.train()(x), y)
    loss.backward()
    return loss.detach(), [p.grad for p in net.parameters()], list(net.buffers())


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("name", ["resnet32", "resnet18"])
def test_loss_gradients_and_statistics_are_those_of_the_plain_network(name: str, drop: bool) -> None:
    results = []
    for again in (False, True):
        torch.manual_seed(0)
        net = build(name, classes=3, stem="small").double()
        if drop:
            add_stochastic_depth(net, 0.5)
        if again:
            recompute_stages(net)
        results.append(one_step(net))
    for plain, checked in zip(results[0][1] + results[0][2], results[1][1] + results[1][2], strict=True):
        torch.testing.assert_close(plain, checked, rtol=1e-9, atol=1e-12)
    assert torch.equal(results[0][0], results[1][0])


def test_state_dict_names_stay() -> None:
    plain, again = build("resnet20"), build("resnet20")
    recompute_stages(again)
    assert list(again.state_dict()) == list(plain.state_dict())
    again.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), plain.eval()(x))


class Live(TorchDispatchMode):
    """Counts the bytes of storages that are alive, and the most that ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.watch(tensor.untyped_storage())
        return out

    def watch(self, storage: torch.UntypedStorage) -> None:
        place, size = storage.data_ptr(), storage.nbytes()
        if place and place not in self.known:
            self.known.add(place)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, place, size)

    def forget(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def peak_bytes(net: Network) -> int:
    """The most that a forward and backward pass held at once, gradients of parameters included."""
    with Live() as live:
        net.train()(torch.randn(64, 3, 16, 16)).sum().backward()
    return live.peak


def test_what_is_kept_grows_slower_than_depth() -> None:
    nets = {}
    for name in ("resnet20", "resnet110"):
        for again in (False, True):
            net = build(name)
            if again:
                recompute_stages(net)
            nets[name, again] = peak_bytes(net)
    plain = nets["resnet110", False] / nets["resnet20", False]
    checked = nets["resnet110", True] / nets["resnet20", True]
    assert plain > 4.5, "18 units a stage for 3"
    assert checked < 3.0, "the square root of six, and a little"
