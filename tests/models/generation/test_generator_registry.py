"""Generators by name."""

import pytest
import torch

from skipway import models
from skipway.errors import SkipwayError, UnknownNameError
from skipway.models.generation.registry import (
    create_generator,
    is_generator,
    list_generators,
    require_generator,
)
from skipway.models.generation.unet import GENERATORS


def test_generators_are_listed_by_size() -> None:
    assert list_generators() == ["unet8", "unet28", "unet32", "unet32_base", "unet64"]
    assert list_generators("32") == ["unet32", "unet32_base"]
    assert list_generators("unet?") == ["unet8"]


def test_no_name_is_taken_twice() -> None:
    assert not set(GENERATORS) & {*models.NETWORKS, *models.DETECTORS, *models.SEGMENTERS}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(("classes", "channels"), [(0, 1), (7, 3), (1, 4)])
def test_options_reach_the_network(name: str, classes: int, channels: int) -> None:
    with torch.device("meta"):
        net = create_generator(name, classes, channels, dropout=0.2)
    assert net.classes == classes
    assert {m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
    rows = net.class_embedding.num_embeddings if classes else 1
    assert rows == classes + 1
    x = torch.empty(2, channels, net.smallest, net.smallest + 3, device="meta")
    assert net(x, torch.empty(2, device="meta")).shape == x.shape


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    assert is_generator("unet28")
    assert not is_generator("resnet18")
    require_generator("unet28")
    with pytest.raises(UnknownNameError, match=r"unknown generator 'unet_28': did you mean 'unet28'\?"):
        require_generator("unet_28")
    with pytest.raises(UnknownNameError, match="unet64"):
        create_generator("resnet18", 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": -1}, "unet8 with -1 classes: at least 0"),
        ({"classes": 2, "channels": 0}, "unet8 with 0 image channels: at least 1"),
        ({"classes": 2, "dropout": 1.0}, r"unet8 with dropout 1.0: it must be at least 0 and less than 1"),
        ({"classes": 2, "dropout": -0.1}, "unet8 with dropout -0.1"),
    ],
)
def test_a_number_out_of_range_is_one_line(options: dict, message: str) -> None:
    with pytest.raises(SkipwayError, match=message):
        create_generator("unet8", **options)
