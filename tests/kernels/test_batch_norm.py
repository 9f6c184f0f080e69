"""Batch norm, addition and ReLU in C++ against torch in float64."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.errors import SkipwayError
from skipway.kernels import batch_norm, library
from skipway.kernels.batch_norm import batch_norm_relu

SHAPES = [(2, 3, 5, 7), (4, 17, 9, 9), (8, 16, 16, 16), (3, 300, 5, 4), (4, 1024, 2, 3), (2, 5, 1, 1)]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2**-7}


@pytest.fixture(autouse=True)
def kernels() -> library.Kernels:
    found, why = library.load()
    if found is None:
        pytest.skip(f"no kernels here: {why}")
    return found


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch, kernels: library.Kernels) -> list[int]:
    """Grows by an item at each forward pass through the kernels."""
    calls: list[int] = []

    def forward(*given: object) -> int:
        calls.append(1)
        return kernels.forward(*given)

    monkeypatch.setattr(batch_norm, "load", lambda: (replace(kernels, forward=forward), ""))
    return calls


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def random_map(shape: tuple[int, ...], dtype: torch.dtype, scale: float = 1.0, mean: float = 0.0) -> Tensor:
    return (torch.randn(shape) * scale + mean).to(dtype).contiguous(memory_format=torch.channels_last)


def random_norm(channels: int, dtype: torch.dtype) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, dtype=torch.float64 if dtype is torch.float64 else torch.float32)
    with torch.no_grad():
        norm.weight.uniform_(-2, 2)
        norm.bias.normal_()
        assert norm.running_mean is not None
        norm.running_mean.normal_()
    return norm


def in_float64(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    same = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, dtype=torch.float64)
    same.load_state_dict(norm.state_dict())
    return same


def results(output: Tensor, gradient: Tensor, norm: nn.BatchNorm2d, inputs: list[Tensor]) -> list[Tensor]:
    """What a training step takes from a unit: outputs, gradients, statistics."""
    output.backward(gradient)
    grads = [norm.weight.grad, norm.bias.grad, *(x.grad for x in inputs)]
    return [output.detach(), *(g for g in grads if g is not None), *norm.buffers()]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_step_is_that_of_torch_in_float64_within_rounding(
    dtype: torch.dtype, shape: tuple[int, ...], add: bool, count_calls: list[int]
) -> None:
    norm, inputs = random_norm(shape[1], dtype), [random_map(shape, dtype, 3, 5)]
    inputs += [random_map(shape, dtype)] if add else []
    gradient, exact = random_map(shape, dtype), in_float64(norm)
    exact_inputs = [x.double().requires_grad_() for x in inputs]
    inputs = [x.requires_grad_() for x in inputs]
    total = exact(exact_inputs[0]) + (exact_inputs[1] if add else 0)
    clear = total.detach().abs() > 1e-4  # so that rounding does not decide what the ReLU lets pass
    found = results(batch_norm_relu(norm, (), None, *inputs), gradient * clear, norm, inputs)
    expected = results(F.relu(total), gradient.double() * clear, exact, exact_inputs)
    assert len(count_calls) == 1
    assert len(found) == len(expected) == (8 if add else 7)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= TOLERANCE[dtype] * max(theirs.abs().max().item(), 1)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_level_of_instructions_gives_the_same(
    dtype: torch.dtype, kernels: library.Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, skip, gradient = (random_map((4, 17, 9, 9), dtype) for _ in range(3))
    found = []
    for level in range(kernels.level + 1):
        monkeypatch.setattr(batch_norm, "load", lambda level=level: (replace(kernels, level=level), ""))
        torch.manual_seed(1)
        norm, inputs = random_norm(17, dtype), [x.clone().requires_grad_(), skip.clone().requires_grad_()]
        found.append(results(batch_norm_relu(norm, (), None, *inputs), gradient, norm, inputs))
    for one, other in pairwise(found):
        for ours, theirs in zip(one, other, strict=True):
            assert (ours.double() - theirs.double()).abs().max() <= TOLERANCE[dtype] * max(theirs.abs().max(), 1)


@pytest.mark.parametrize("add", [False, True])
def test_the_number_of_threads_changes_no_digit(add: bool, two_threads: None) -> None:
    x, skip, gradient = (random_map((8, 16, 33, 17), torch.float32) for _ in range(3))
    found = []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        norm = random_norm(16, torch.float32)
        inputs = [t.clone().requires_grad_() for t in ([x, skip] if add else [x])]
        found.append(results(batch_norm_relu(norm, (), None, *inputs), gradient, norm, inputs))
    assert all(torch.equal(a, b) for one, other in pairwise(found) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("add", [False, True])
def test_gradients_are_those_of_finite_differences(add: bool) -> None:
    norm = random_norm(3, torch.float64)

    def unit(x: Tensor, skip: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        values = (x, skip) if add else (x,)
        return torch.func.functional_call(Unit(norm), {"norm.weight": weight, "norm.bias": bias}, values)

    maps = [random_map((2, 3, 2, 3), torch.float64, 2).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(unit, (*maps, norm.weight, norm.bias))


class Unit(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, *inputs: Tensor) -> Tensor:
        return batch_norm_relu(self.norm, (), None, *inputs)


def test_a_mean_far_from_zero_cancels_nothing() -> None:
    norm, x = nn.BatchNorm2d(4, momentum=1.0), random_map((8, 4, 16, 16), torch.float32, 1, 1000)
    batch_norm_relu(norm, (), None, x)
    assert norm.running_var is not None
    assert torch.allclose(norm.running_var, x.double().var((0, 2, 3)).float(), rtol=1e-4)


def test_an_average_over_all_batches_is_torchs(count_calls: list[int]) -> None:
    norm = nn.BatchNorm2d(3, momentum=None)
    exact = in_float64(norm)
    for _ in range(3):
        x = random_map((4, 3, 5, 5), torch.float32, 2, 1)
        batch_norm_relu(norm, (), None, x)
        exact(x.double())
    assert len(count_calls) == 3
    for ours, theirs in zip(norm.buffers(), exact.buffers(), strict=True):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-5)


def test_a_second_derivative_is_refused_in_one_line() -> None:
    x = random_map((2, 3, 4, 4), torch.float32).requires_grad_()
    y = batch_norm_relu(nn.BatchNorm2d(3), (), None, x)
    with pytest.raises(SkipwayError, match=r"no second derivative.*fused_units='off'"):
        torch.autograd.grad(y.square().sum(), x, create_graph=True)


def test_nan_is_not_hidden() -> None:
    x = random_map((2, 3, 4, 4), torch.bfloat16)
    x[0, 1, 0, 0] = torch.nan
    y = batch_norm_relu(nn.BatchNorm2d(3), (), None, x)
    assert y[:, 1].isnan().all()
    assert not y[:, [0, 2]].isnan().any()


def test_what_the_kernels_cannot_take_is_computed_by_torch(count_calls: list[int]) -> None:
    x, skip = random_map((2, 3, 4, 4), torch.float32), random_map((2, 3, 4, 4), torch.float32)
    hooked, called = nn.BatchNorm2d(3), []
    hooked.register_forward_hook(lambda *_: called.append(1))
    cases = [
        (nn.BatchNorm2d(3), (), x.contiguous(), None),
        (nn.BatchNorm2d(3).eval(), (), x, None),
        (nn.BatchNorm2d(3, affine=False), (), x, None),
        (nn.BatchNorm2d(3, track_running_stats=False), (), x, None),
        (nn.InstanceNorm2d(3), (), x, None),
        (nn.BatchNorm2d(3), (nn.Dropout(0.0),), x, None),
        (nn.BatchNorm2d(3), (), x.double(), None),
        (nn.BatchNorm2d(3), (), x, skip.mean((2, 3), keepdim=True)),
        (hooked, (), x, skip),
    ]
    for norm, between, given, other in cases:
        if isinstance(norm, nn.BatchNorm2d) and given.dtype is torch.float64:
            norm = norm.double()
            given = given.contiguous()
        y = batch_norm_relu(norm, between, None, given, other)
        assert torch.equal(y, F.relu(norm(given) + (0 if other is None else other)))
    assert not count_calls
    assert len(called) == 2


def test_one_value_a_channel_is_refused_as_by_torch() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        batch_norm_relu(nn.BatchNorm2d(3), (), None, random_map((1, 3, 1, 1), torch.float32))


def test_without_kernels_torch_computes_and_the_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from skipway.commands.summary import machine_rows

    monkeypatch.setattr(library, "library_file", lambda: None)
    library.load.cache_clear()
    try:
        x = random_map((2, 3, 4, 4), torch.float32)
        assert torch.equal(batch_norm_relu(nn.BatchNorm2d(3), (), None, x), F.relu(nn.BatchNorm2d(3)(x)))
        (row,) = [row for row in machine_rows() if row["what"] == "fused units"]
        assert (row["value"], row["why"]) == ("off", library.load()[1])
        assert "install a C++ compiler" in row["why"]
    finally:
        monkeypatch.undo()
        library.load.cache_clear()
