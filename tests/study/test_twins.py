"""Shallower twins."""

import re

import pytest
import torch
from torch import nn

from skipway import models
from skipway.study.networks import with_study_networks
from skipway.study.twins import TWINS, with_units


@pytest.mark.parametrize("row", with_units(3))
def test_a_twin_is_the_papers_net_with_fewer_units(row: str) -> None:
    with torch.device("meta"):
        deep, twin = models.build(f"resnet110_{row}"), with_units(3)[row]()
    parts = {
        name: repr(module)
        for name, module in deep.named_modules()
        if not list(module.children()) and not re.match(r"layer\d\.([3-9]|1\d)\.", name)
    }
    assert {name: repr(m) for name, m in twin.named_modules() if not list(m.children())} == parts
    starts = [
        m.bias[0].item() for m in with_units(1)[row]().modules() if isinstance(m, nn.Conv2d) and m.bias is not None
    ]
    assert set(starts) <= {0.0 if row.endswith("gate0") else -6.0}


def test_a_twin_is_found_by_name_while_a_study_works() -> None:
    with with_study_networks():
        assert {name for name in TWINS if name in models.NETWORKS} == set(TWINS)
    assert not set(TWINS) & set(models.NETWORKS)
