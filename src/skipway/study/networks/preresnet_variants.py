"""Shallower versions of the networks of He 2016, Tables 1 and 2, and the paper's dropout on the shortcut.

The networks of 110 layers are in models/preresnet.py, where dropout on the shortcut is PyTorch's, which preserves the
mean. The paper's scales the shortcut by 1/2 on average, as it says in sec. 3.1.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from skipway.models.base import Network
from skipway.models.preresnet import (
    RELU_ONLY_A,
    Exclusive,
    GatedShortcut,
    Scale,
    after_addition,
    basic,
    bn_after,
    cifar,
    dropped,
    private,
    relu_before,
    scale_by,
    scaled,
)
from skipway.models.resnet import Basic, shortcut_a, shortcut_c


def halved_dropout(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Option A times 0 or 1, with equal probability, in training; times 1/2 in evaluation (Fig. 2f, sec. 3.1).

    PyTorch's dropout multiplies by 0 or 2.
    """
    return nn.Sequential(shortcut_a(c_in, c_out, stride), nn.Dropout(0.5), Scale(0.5))


def with_halved_dropout(n: int) -> Callable[..., Network]:
    """The row "dropout shortcut" of Table 1 with `n` units per stage."""
    return after_addition(Basic, 1, n, halved_dropout)


def with_units(n: int) -> dict[str, Callable[..., Network]]:
    """The rows of both tables by name, with `n` units per stage: 6n + 2 layers."""
    return {
        "bn_after": after_addition(private(basic, bn_after), 1, n, shortcut_a),
        "relu_before": after_addition(private(basic, relu_before), 1, n, shortcut_a),
        "relu_only": cifar(RELU_ONLY_A, n),
        "scaled_half": after_addition(Basic, 1, n, scaled(0.5)),
        "scaled_both": after_addition(partial(Basic, refine=scale_by(0.5)), 1, n, scaled(0.5)),
        "exclusive_gate": after_addition(partial(Exclusive, bias=-6), 1, n, shortcut_a),
        "exclusive_gate0": after_addition(partial(Exclusive, bias=0), 1, n, shortcut_a),
        "shortcut_gate": after_addition(Basic, 1, n, partial(GatedShortcut, bias=-6)),
        "shortcut_gate0": after_addition(Basic, 1, n, partial(GatedShortcut, bias=0)),
        "conv_shortcut": after_addition(Basic, 1, n, shortcut_c),
        "dropout_shortcut": after_addition(Basic, 1, n, dropped),
    }


VARIANTS: dict[str, Callable[..., Network]] = {
    **{f"resnet{6 * n + 2}_{row}": build for n in (3, 5) for row, build in with_units(n).items()},
    **{f"resnet{6 * n + 2}_halved_dropout": with_halved_dropout(n) for n in (3, 5, 18)},
}
