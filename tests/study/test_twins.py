"""Shallower variants of pre-activation networks."""

import re

import pytest
import torch
from torch import nn

from skipway import models
from skipway.study.networks.preresnet_variants import VARIANTS, halved_dropout, with_units
from skipway.study.networks.registry import register_study_networks
from skipway.study.probes.activations import units_of


@pytest.mark.parametrize("row", with_units(3))
def test_a_variant_is_the_papers_network_with_fewer_units(row: str) -> None:
    with torch.device("meta"):
        deep, variant = models.build(f"resnet110_{row}"), with_units(3)[row]()
    parts = {
        name: repr(module)
        for name, module in deep.named_modules()
        if not list(module.children()) and not re.match(r"layer\d\.([3-9]|1\d)\.", name)
    }
    assert {name: repr(m) for name, m in variant.named_modules() if not list(m.children())} == parts
    starts = [
        m.bias[0].item() for m in with_units(1)[row]().modules() if isinstance(m, nn.Conv2d) and m.bias is not None
    ]
    assert set(starts) <= {0.0 if row.endswith("gate0") else -6.0}


def test_the_papers_dropout_halves_the_shortcut_and_does_not_rescale_it() -> None:
    torch.manual_seed(0)
    shortcut, x = halved_dropout(4, 4, 1), torch.rand(8, 4, 16, 16) + 1
    dropped = shortcut.train()(x)
    kept = dropped != 0
    assert torch.equal(dropped[kept], x[kept])
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.03)  # of 8,192 values: 5 standard deviations
    assert torch.equal(shortcut.eval()(x), x / 2)


def test_every_unit_has_the_papers_dropout() -> None:
    shortcuts = [unit.downsample for unit in units_of(VARIANTS["resnet20_halved_dropout"]())]
    assert len(shortcuts) == 9
    assert all([type(part).__name__ for part in shortcut][1:] == ["Dropout", "Scale"] for shortcut in shortcuts)


def test_variants_are_registered_but_not_listed() -> None:
    register_study_networks()
    assert all(models.is_known(name) for name in VARIANTS)
    assert not set(VARIANTS) & set(models.list_models())
