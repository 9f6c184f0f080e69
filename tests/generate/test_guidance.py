"""Guidance: which labels the network is given, how often, and what becomes of its answers."""

import pytest
import torch
from torch import Tensor

from skipway.tasks.generate.guidance import evaluations_at, guided
from skipway.tasks.generate.solvers import integrate, uniform

ALWAYS = (0.0, 1.0)


class Recorded:
    """A network whose velocity depends on everything; it keeps what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, list[int]]] = []

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        assert len(x) == len(t) == len(labels)
        if x.device.type == "cpu":
            self.calls.append((float(t[0]), labels.tolist()))
        return torch.sin(x * (labels + 1)[:, None, None, None]) + t[:, None, None, None]


def state() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    return x, torch.full((3,), 0.5), torch.tensor([0, 4, 2])


def test_guidance_1_is_the_conditional_network_and_0_the_null_class() -> None:
    x, t, labels = state()
    net = Recorded()
    assert torch.equal(guided(net, labels, 7, 1.0, ALWAYS)(x, t), net(x, t, labels))
    assert net.calls[0] == (0.5, [0, 4, 2])
    net = Recorded()
    assert torch.equal(guided(net, labels, 7, 0.0, ALWAYS)(x, t), net(x, t, torch.full_like(labels, 7)))
    assert net.calls[0] == (0.5, [7, 7, 7])


def test_guidance_goes_from_the_null_class_through_the_class_and_beyond() -> None:
    x, t, labels = state()
    net = Recorded()
    found = guided(net, labels, 7, 2.5, ALWAYS)(x, t)
    assert net.calls == [(0.5, [7, 7, 7, 0, 4, 2])], "both in one call"
    # the formula of Ho 2022, eq. 6, with w there = guidance - 1
    expected = (1 + 1.5) * net(x, t, labels) - 1.5 * net(x, t, torch.full_like(labels, 7))
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)  # float32 rounding of numbers up to 5


def test_guidance_outside_its_interval_is_the_conditional_network() -> None:
    x, _, labels = state()
    for time, evaluations in ((0.2, 1), (0.29, 1), (0.3, 2), (0.8, 2), (0.81, 1), (1.0, 1)):
        net, t = Recorded(), torch.full((3,), time)
        found = guided(net, labels, 7, 3.0, (0.3, 0.8))(x, t)
        assert len(net.calls[0][1]) == 3 * evaluations == 3 * evaluations_at(time, 3.0, (0.3, 0.8)), time
        assert torch.equal(found, net(x, t, labels)) == (evaluations == 1)
    assert evaluations_at(0.5, 0.0, ALWAYS) == evaluations_at(0.5, 1.0, ALWAYS) == 1


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint"])
def test_nothing_is_read_from_the_device_in_the_loop(solver: str) -> None:
    # a tensor on the meta device has no values: reading one, as an if on it would, is an error
    x, labels = torch.zeros(3, 1, 4, 5, device="meta"), torch.zeros(3, dtype=torch.int64, device="meta")
    found = integrate(guided(Recorded(), labels, 7, 3.0, (0.3, 0.8)), x, uniform(10), solver)
    assert found.device.type == "meta" and found.shape == x.shape
    with pytest.raises(RuntimeError):
        float(found[0, 0, 0, 0])
