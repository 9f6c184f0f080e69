"""Parts of detectors that predict at every place of a feature pyramid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

PRIOR = 0.01  # the probability of an object at a place when training starts (RetinaNet, sec. 4.1)


def flatten_map(x: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W), A predictions of some values at each pixel -> (N, H * W * A, values), row by row."""
    return x.unflatten(1, (-1, values)).permute(0, 3, 4, 1, 2).flatten(1, 3)


def grid(maps: Sequence[Tensor], height: int, width: int) -> list[Tensor]:
    """For each map, the place of its pixels in images of `height` x `width`: (H * W, 2), x and y, row by row.

    As in torchvision, whose weights expect it, the first is at 0, and the distance between two is the image's side over
    the map's, rounded down, which is less than the stride where the sides of maps were rounded up.
    """
    places = []
    for level in maps:
        h, w = level.shape[-2:]
        y = torch.arange(h, dtype=torch.float32, device=level.device) * (height // h)
        x = torch.arange(w, dtype=torch.float32, device=level.device) * (width // w)
        places.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1))
    return places


def take(rows: Tensor, places: Tensor) -> Tensor:
    """The rows (N, P, D) at `places` (N, K): (N, K, D)."""
    return rows.gather(1, places[..., None].expand(-1, -1, rows.shape[-1]))


def best_candidates(scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `most` best of scores (N, P, classes), or all if there are fewer: scores, places and classes, each (N, K)."""
    places, classes = scores.shape[1:]
    best, order = scores.flatten(1).topk(min(most, places * classes))
    return best, order // classes, order % classes


def initialise(head: nn.Module) -> None:
    """Weights N(0, 0.01) and biases 0 (RetinaNet, sec. 4.1)."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def start_at_prior(scores: nn.Conv2d) -> None:
    """Bias the scores so that training starts with the probability PRIOR everywhere."""
    assert scores.bias is not None
    nn.init.constant_(scores.bias, -math.log((1 - PRIOR) / PRIOR))
