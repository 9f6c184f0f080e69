"""Solvers of dx/dt = v(x, t), and the times at which they stop.

Heun's method is that of Karras 2022, arXiv:2206.00364, alg. 1: a step to t = 0 is one of Euler's, which ends at the
denoised image, since at t = 0 the velocity of data on few points or on a surface has no bound, and networks have seen
few examples. n steps of Heun are 2 n - 1 evaluations from noise to image, 2 n from image to noise.

x + h * v is a product and a sum that are rounded one after the other, unlike `torch.add(x, v, alpha=h)`, so that the
digits of a pixel do not depend on its place in memory.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from skipway.errors import UnknownNameError
from skipway.tasks.generate.flow import Velocity, time_of

SIGMA_MAX, SIGMA_MIN, RHO = 80.0, 0.002, 7  # Karras 2022, table 1
Step = Callable[[Velocity, Tensor, float, float], Tensor]
AfterStep = Callable[[int, Tensor], None]


def euler(velocity: Velocity, x: Tensor, time: float, after: float) -> Tensor:
    """First order, one evaluation."""
    return x + (after - time) * velocity(x, times_for(x, time))


def heun(velocity: Velocity, x: Tensor, time: float, after: float) -> Tensor:
    """Second order, two evaluations; Euler's step if `after` is 0."""
    v = velocity(x, times_for(x, time))
    x_euler = x + (after - time) * v
    if after == 0:
        return x_euler
    return x + (after - time) / 2 * (v + velocity(x_euler, times_for(x, after)))


def midpoint(velocity: Velocity, x: Tensor, time: float, after: float) -> Tensor:
    """Second order, two evaluations, none of them at `after`."""
    half = (after - time) / 2
    x_half = x + half * velocity(x, times_for(x, time))
    return x + (after - time) * velocity(x_half, times_for(x, time + half))


def times_for(x: Tensor, time: float) -> Tensor:
    """`time` for each row of x, on the CPU (see `Velocity`)."""
    return torch.full((len(x),), time, dtype=x.dtype)


def uniform(steps: int) -> list[float]:
    """steps + 1 equally spaced times from 1 to 0."""
    return [(steps - step) / steps for step in range(steps + 1)]


def rho7(steps: int) -> list[float]:
    """steps + 1 times from 1 to 0, dense near 0: the noise levels of Karras 2022, eq. 5, as times.

    Its first level, SIGMA_MAX, is t = 1 here, where images are noise alone; its last, 0, is t = 0.
    """
    if steps == 1:
        return [1.0, 0.0]
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    levels = [(high + step / (steps - 1) * (low - high)) ** RHO for step in range(steps)]
    return [1.0, *(time_of(sigma) for sigma in levels[1:]), 0.0]


SOLVERS: dict[str, Step] = {"euler": euler, "heun": heun, "midpoint": midpoint}
# What a step's evaluations count in the integral of a function along the path, in shares of the step. Heun's are for a
# step that does not end at 0.
WEIGHTS: dict[str, tuple[float, ...]] = {"euler": (1.0,), "heun": (0.5, 0.5), "midpoint": (0.0, 1.0)}
GRIDS: dict[str, Callable[[int], list[float]]] = {"uniform": uniform, "rho7": rho7}


def require_solver(name: str) -> None:
    """Raises UnknownNameError."""
    if name not in SOLVERS:
        raise UnknownNameError("solver", name, SOLVERS, f"known are {', '.join(SOLVERS)}")


def require_grid(name: str) -> None:
    """Raises UnknownNameError."""
    if name not in GRIDS:
        raise UnknownNameError("time grid", name, GRIDS, f"known are {', '.join(GRIDS)}")


def integrate(
    velocity: Velocity, x: Tensor, times: Sequence[float], solver: str, after_step: AfterStep | None = None
) -> Tensor:
    """The solution at the last of `times` that is x (N, ...) at the first; they may rise or fall.

    after_step: called with the number of each step, from 0, and the solution after it; it may raise to stop. Nothing is
    read from the device of x. Raises UnknownNameError.
    """
    require_solver(solver)
    for number, (time, after) in enumerate(pairwise(times)):
        x = SOLVERS[solver](velocity, x, time, after)
        if after_step is not None:
            after_step(number, x)
    return x


def evaluation_times(times: Sequence[float], solver: str) -> list[float]:
    """The times at which `integrate` evaluates the velocity, in order."""
    found = []

    def recorded(x: Tensor, t: Tensor) -> Tensor:
        found.append(float(t[0]))
        return x

    integrate(recorded, torch.zeros(1, dtype=torch.float64), times, solver)
    return found
