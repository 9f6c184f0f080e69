"""Muon for convolutions: each update is replaced by the nearest orthogonal matrix of the same shape.

Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein: Muon, an optimizer for hidden layers in neural networks. 2024.

torch's implementation takes matrices alone. A kernel (c_out, c_in, k, k) is one of c_out rows; the order of its columns
makes no difference to the update, so the memory's own order is taken and nothing is copied. The groups of a grouped
convolution are taken together, as the rows of one matrix.
"""

import torch
from torch import Tensor, nn


def as_matrix(values: Tensor, kernel: Tensor) -> Tensor:
    """`values` of a kernel's shape (c_out, c_in, k, k) -> (c_out, c_in k k), columns as `kernel` lies in memory."""
    return values.flatten(1) if kernel.is_contiguous() else values.permute(0, 2, 3, 1).flatten(1)


class ConvolutionMuon(torch.optim.Muon):
    """torch's Muon on kernels. A group has `kernels` (of convolutions) and may have its own lr and weight_decay."""

    def __init__(self, groups: list[dict], momentum: float, nesterov: bool) -> None:
        self.kernels = [kernel for group in groups for kernel in group["params"]]
        matrices = iter([nn.Parameter(as_matrix(kernel.detach(), kernel)) for kernel in self.kernels])
        of_matrices = [{**group, "params": [next(matrices) for _ in group["params"]]} for group in groups]
        super().__init__(of_matrices, momentum=momentum, nesterov=nesterov)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: nothing here evaluates twice
        matrices = [matrix for group in self.param_groups for matrix in group["params"]]
        for matrix, kernel in zip(matrices, self.kernels, strict=True):
            assert matrix.data_ptr() == kernel.data_ptr(), "a kernel moved after its optimiser was made"
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad, kernel)
        super().step()
        for matrix in matrices:  # or the last gradients would be held beside the next
            matrix.grad = None
