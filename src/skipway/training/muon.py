"""The Muon optimiser for convolutions: each update is replaced by the nearest orthogonal matrix.

Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein: Muon, an optimizer for hidden layers in neural networks. 2024.

The arithmetic is that of `torch.optim.Muon`, which takes single matrices: here a kernel (c_out, c_in, k, k) is a matrix
of c_out rows, and kernels of equal shape go through the iteration together, which takes a little over half the time for
a small network on a CPU (docs/log.md). The groups of a grouped convolution are the rows of one matrix.
"""

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the authors' quintic, which trades exactness for speed
ITERATIONS = 5


def as_matrix(values: Tensor, kernel: Tensor) -> Tensor:
    """`values` of a kernel's shape (c_out, c_in, k, k) -> (c_out, c_in k k), columns in the memory order of `kernel`.

    Their order does not change the update, and nothing is copied.
    """
    return values.flatten(1) if kernel.is_contiguous() else values.permute(0, 2, 3, 1).flatten(1)


def orthogonalised(matrices: Tensor) -> Tensor:
    """(B, rows, columns) -> the same shape, singular values near 1 (0.7 to 1.2), by Newton and Schulz's iteration."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class ConvolutionMuon(torch.optim.Optimizer):
    """Muon on kernels. A group has its own lr and weight_decay (decoupled: a share of the weights times lr)."""

    def __init__(self, groups: list[dict], momentum: float, nesterov: bool) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.momentum, self.nesterov = momentum, nesterov

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: the loss is never evaluated again
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for kernel in group["params"]:
                if kernel.grad is not None:
                    by_shape.setdefault(kernel.shape, []).append(kernel)
            for kernels in by_shape.values():
                self.update(kernels, group["lr"], group["weight_decay"])

    def update(self, kernels: list[nn.Parameter], lr: float | Tensor, weight_decay: float) -> None:
        """One update of kernels of equal shape. A rate in a tensor is never read by the host, so that it can be
        recorded as a CUDA graph."""
        directions = torch.stack([as_matrix(self.momentum_gradient(kernel), kernel) for kernel in kernels])
        scale = max(1.0, directions.shape[1] / directions.shape[2]) ** 0.5
        for kernel, direction in zip(kernels, orthogonalised(directions), strict=True):
            matrix = as_matrix(kernel, kernel).mul_(1 - lr * weight_decay)
            if isinstance(lr, Tensor):
                matrix.sub_(direction * (lr * scale))
            else:
                matrix.sub_(direction, alpha=lr * scale)

    def momentum_gradient(self, kernel: nn.Parameter) -> Tensor:
        """The running mean of the kernel's gradients, updated with this one; with Nesterov momentum, one step ahead."""
        assert kernel.grad is not None
        state = self.state[kernel]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(kernel)
        mean: Tensor = state["momentum_buffer"].lerp_(kernel.grad, 1 - self.momentum)
        return kernel.grad.lerp(mean, self.momentum) if self.nesterov else mean
