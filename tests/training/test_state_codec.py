"""The state of a run as tensors: what is restored, and what is of another network."""

import pytest
import torch
from torch import nn

from skipway.errors import BundleError
from skipway.training.state_codec import load_strict, same_layout


def test_tensors_are_alike_in_shape_and_in_dtype() -> None:
    one = torch.zeros(2, 3)
    assert same_layout(one, torch.ones(2, 3))
    assert not same_layout(one, torch.zeros(3, 2))
    assert not same_layout(one, torch.zeros(2, 3, dtype=torch.float64))
    assert not same_layout(one, torch.zeros(2, 3, dtype=torch.bfloat16))


def test_weights_of_another_precision_are_not_converted_silently() -> None:
    """A resumed run would otherwise have other digits than one that was not interrupted."""
    net = nn.BatchNorm1d(3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for name, dtype in (
        ("weight", torch.bfloat16),
        ("running_mean", torch.float64),
        ("num_batches_tracked", torch.int32),
    ):
        values = {**net.state_dict(), name: net.state_dict()[name].to(dtype)}
        with pytest.raises(BundleError, match=f"another network \\({name} differs, and 0 more\\)"):
            load_strict(net, values)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
