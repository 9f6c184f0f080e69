"""Mixup and cutmix against their definitions, and that processes mix what one would."""

from dataclasses import replace

import pytest
import torch

from skipway.data.loader import Batch
from skipway.errors import SkipwayError
from skipway.tasks.classify.task import Classify
from skipway.tasks.tag.task import Tag
from skipway.training.mixup import cutmix, mix_batch, mixup, require_even_share
from skipway.training.recipes import QUICK

IMAGES = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 12).contiguous()
TARGETS = torch.eye(6)
PARTNER = torch.tensor([3, 4, 5, 0, 1, 2])


def soft(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Class numbers as the task gives them to be mixed."""
    return Classify(tuple(map(str, range(classes)))).soft_targets(labels)


def test_mixup_is_the_weighted_mean_of_an_image_and_its_partner() -> None:
    images, targets = mixup(IMAGES, TARGETS, 0.75)
    torch.testing.assert_close(images, 0.75 * IMAGES + 0.25 * IMAGES[PARTNER])
    torch.testing.assert_close(targets, 0.75 * TARGETS + 0.25 * TARGETS[PARTNER])


def test_cutmix_puts_in_a_rectangle_and_targets_count_its_pixels() -> None:
    for share in (0.1, 0.5, 0.9, 0.97):
        images, targets = cutmix(IMAGES, TARGETS, share)
        foreign = images != IMAGES
        assert torch.equal(images[foreign], IMAGES[PARTNER][foreign])
        torch.testing.assert_close(targets[0, 3], foreign[0].float().mean())
        rows, columns = foreign[0, 0].any(1), foreign[0, 0].any(0)
        assert foreign[0].sum() == rows.sum() * columns.sum(), "one rectangle"


@pytest.mark.parametrize("changes", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_mix_the_batch_that_one_would(changes: dict, world: int) -> None:
    recipe, images, labels = replace(QUICK, **changes), torch.randn(12, 3, 8, 8), torch.arange(12) % 5
    for seed in range(6):
        torch.manual_seed(seed)
        alone = mix_batch(Batch(images, soft(labels, 5)), soft(labels, 5), recipe)
        for rank in range(world):
            torch.manual_seed(seed)
            share = mix_batch(Batch(images[rank::world], labels[rank::world]), soft(labels[rank::world], 5), recipe)
            assert torch.equal(share[0], alone[0][rank::world])
            assert torch.equal(share[1], alone[1][rank::world])
        torch.testing.assert_close(alone[1].sum(1), torch.ones(12))


def test_tags_are_mixed_as_they_are() -> None:
    tags = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.uint8)
    _, targets = mix_batch(Batch(IMAGES[:2], tags), Tag(("a", "b", "c")).soft_targets(tags), replace(QUICK, mixup=0.4))
    torch.testing.assert_close(targets.sum(0), torch.tensor([1.0, 1.0, 0.0]))


def test_shares_follow_the_beta_distribution() -> None:
    recipe = replace(QUICK, mixup=2.0)
    shares = torch.stack(
        [mix_batch(Batch(IMAGES, torch.arange(6)), soft(torch.arange(6), 6), recipe)[1][0, 0] for _ in range(600)]
    )
    assert abs(shares.mean() - 0.5) < 4 * 0.224 / 600**0.5  # Beta(2, 2) has the deviation 0.2236
    assert abs(shares.std() - 0.2236) < 0.03


def test_a_batch_whose_pairs_would_be_parted_is_refused() -> None:
    require_even_share(replace(QUICK, mixup=0.2, batch=12), 3)
    require_even_share(replace(QUICK, batch=6), 2)
    with pytest.raises(SkipwayError, match="make --batch a multiple of 8"):
        require_even_share(replace(QUICK, cutmix=1.0, batch=12), 4)
