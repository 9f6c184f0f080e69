"""How long networks take beside each other: each in turn, round after round, in one process."""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from skipway.hardware import Hardware


def relative_times(
    nets: Mapping[str, nn.Module], images: Tensor, hardware: Hardware, reference: str, rounds: int, shortest: float
) -> dict[str, list[float]]:
    """Of every net and round, the time of `images` in inference as a multiple of the `reference`'s in the same round.

    In each round every net has its turn, of at least `shortest` seconds, so that a machine that slows down slows all
    of them; a first round, in which memory is found, does not count.
    """
    placed, batch = {name: hardware.place(net.eval()) for name, net in nets.items()}, hardware.place_images(images)
    taken = []
    for _ in range(1 + rounds):
        with torch.inference_mode(), hardware.autocast():
            taken.append({name: seconds_of(net, batch, shortest) for name, net in placed.items()})
    return ratios(taken[1:], reference)


def seconds_of(net: nn.Module, images: Tensor, shortest: float) -> float:
    """Seconds that `images` take, over as many repetitions as fill `shortest`."""
    count, started = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - started < shortest:
        net(images).sum().item()  # waits for the device
        count += 1
    return (time.perf_counter() - started) / count


def ratios(rounds: Sequence[Mapping[str, float]], reference: str) -> dict[str, list[float]]:
    """Seconds by net, round by round, as multiples of the reference's."""
    return {name: [round(one[name] / one[reference], 4) for one in rounds] for name in rounds[0]}
