"""Relative inference times of networks, measured in alternating rounds in one process."""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from skipway.hardware import Hardware


def relative_times(
    nets: Mapping[str, nn.Module], images: Tensor, hardware: Hardware, reference: str, rounds: int, shortest: float
) -> dict[str, list[float]]:
    """By network and round, the inference time of `images` as a multiple of the `reference`'s in the same round.

    In each round every network is timed for at least `shortest` seconds, so that a slowdown of the machine affects all
    of them. A first round, in which memory is allocated, is not counted.
    """
    placed, batch = {name: hardware.place(net.eval()) for name, net in nets.items()}, hardware.place_images(images)
    taken = []
    for _ in range(1 + rounds):
        with torch.inference_mode(), hardware.autocast():
            taken.append({name: seconds_of(net, batch, shortest) for name, net in placed.items()})
    return ratios(taken[1:], reference)


def seconds_of(net: nn.Module, images: Tensor, shortest: float) -> float:
    """Mean seconds for `images`, over repetitions for at least `shortest` seconds."""
    count, started = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - started < shortest:
        net(images).sum().item()  # synchronises with the device
        count += 1
    return (time.perf_counter() - started) / count


def ratios(rounds: Sequence[Mapping[str, float]], reference: str) -> dict[str, list[float]]:
    """Seconds by network and round, as multiples of the reference's."""
    return {name: [round(one[name] / one[reference], 4) for one in rounds] for name in rounds[0]}
