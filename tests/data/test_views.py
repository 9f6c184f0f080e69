"""Views of images against torchvision's."""

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from skipway.data import views
from skipway.data.preprocess import for_photographs
from skipway.errors import SkipwayError


@pytest.mark.parametrize("shape", [(2, 3, 40, 40), (1, 1, 33, 36), (2, 3, 32, 37)])
def test_ten_crops_are_torchvisions_in_its_order(shape: tuple[int, ...]) -> None:
    images = torch.randint(256, shape, dtype=torch.uint8)
    for found, expected in zip(views.cut_ten(images, 32), tv.ten_crop(images, [32, 32]), strict=True):
        assert torch.equal(found, expected)


def test_ten_crops_are_cut_from_images_of_the_resized_size() -> None:
    seen = views.ten_crop(for_photographs(224))
    assert seen.opened.size == 256
    assert {crop.shape[-1] for crop in seen.cut(torch.zeros(1, 3, 256, 256, dtype=torch.uint8))} == {224}


def test_ten_crops_without_a_margin_are_refused() -> None:
    from dataclasses import replace

    with pytest.raises(SkipwayError, match="ten crops need a margin"):
        views.ten_crop(replace(for_photographs(224), resize=224))
