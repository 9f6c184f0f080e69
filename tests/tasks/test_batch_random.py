"""The random numbers of a batch do not depend on how it is divided among processes and parts."""

import pytest
import torch

from skipway.tasks.batch_random import BatchRandom

CPU = torch.device("cpu")
WHOLE = BatchRandom(7, 12, slice(None), CPU)


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_processes_together_draw_what_one_would(draw: str) -> None:
    expected = getattr(WHOLE, draw)(1, 2, 3)
    found = torch.empty_like(expected)
    for rank in range(3):
        found[rank::3] = getattr(BatchRandom(7, 12, slice(rank, None, 3), CPU), draw)(1, 2, 3)
    assert torch.equal(found, expected)


def test_parts_of_a_share_together_draw_what_the_share_would() -> None:
    share = BatchRandom(7, 12, slice(1, None, 2), CPU)
    parts = [share.part(start, start + 4).normal(0, 5) for start in (0, 4)]
    assert [len(part) for part in parts] == [4, 2]
    assert torch.equal(torch.cat(parts), share.normal(0, 5))


def test_draws_and_seeds_differ() -> None:
    first = WHOLE.normal(0, 1000)
    for other in (WHOLE.normal(1, 1000), BatchRandom(8, 12, slice(None), CPU).normal(0, 1000)):
        assert abs(torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1]) < 0.05


def test_they_have_the_distributions_that_they_are_named_for() -> None:
    many = BatchRandom(3, 50_000, slice(None), CPU)
    normal, uniform = many.normal(0), many.uniform(1)
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
