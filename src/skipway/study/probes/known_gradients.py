"""A check of the measured gradients on a network whose gradients are known."""

import numpy as np
import torch
from torch import Tensor, nn

from skipway.models.resnet import Basic, no_shortcut
from skipway.study.probes.activations import forward_and_backward, units_of


class ThreeUnits(nn.Module):
    """Three residual units without normalisation on 1 x 1 maps, where only the centre of a 3x3 kernel matters."""

    stages = ("layer1",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(*(Basic(channels, channels, 1, no_shortcut) for _ in range(3)))
        for unit in units_of(self):
            unit.bn1, unit.bn2 = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer1(x).flatten(1)


def analytic_gradients(net: ThreeUnits, x: np.ndarray) -> list[np.ndarray]:
    """Gradients of the sum of y with respect to each unit's output, for x (n, channels), by the chain rule.

    y = relu(x + B relu(A x)), so dy/dx is the transpose of diag(y > 0) (I + B diag(A x > 0) A).
    """
    jacobians = []
    for unit in net.layer1:
        assert isinstance(unit, Basic)
        a, b = (convolution.weight[:, :, 1, 1].detach().numpy() for convolution in (unit.conv1, unit.conv2))
        inner = x @ a.T
        y = np.maximum(x + np.maximum(inner, 0) @ b.T, 0)
        through = np.eye(len(a)) + np.einsum("ij,nj,jk->nik", b, inner > 0, a)
        jacobians.append((y > 0)[:, :, None] * through)
        x = y
    found = [np.ones_like(x)]
    for jacobian in reversed(jacobians[1:]):
        found.insert(0, np.einsum("nik,ni->nk", jacobian, found[0]))
    return found


def measurement_error(seed: int) -> float:
    """The largest difference between measured and analytic gradients, relative to the largest gradient."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = ThreeUnits(6).double()
        x = torch.randn(5, 6, 1, 1, dtype=torch.float64)
    _, measured = forward_and_backward(net, x, Tensor.sum)
    pairs = zip(measured, analytic_gradients(net, x.flatten(1).numpy()), strict=True)
    return max(float(np.abs(m.flatten(1).numpy() - known).max() / np.abs(known).max()) for m, known in pairs)
