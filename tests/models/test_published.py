"""What was published, against the networks as they are built."""

import pytest

from skipway.models import NETWORKS
from skipway.models.layers import Outlines, depth, layers
from skipway.models.published import PUBLISHED

# Names that do not count every weighted layer of the longest way, or count others too.
COUNTED_OTHERWISE = {
    "d": "variant D keeps the name of the network whose stem it makes three layers of",
    "se": "the layers that weigh channels are not counted",
    "wrn": "projections are counted, the classifier is not",
}
DEEP = 300


def otherwise(name: str) -> bool:
    return name.startswith(("seresnet", "wrn")) or (
        name.startswith("resnet") and name.endswith("d") and name[-2].isdigit()
    )


def unit_in_last_place(number: int) -> int:
    """1,700,000 was printed to hundreds of thousands."""
    return 10 ** (len(str(number)) - len(str(number).rstrip("0")))


@pytest.fixture(scope="module")
def counted() -> dict[str, tuple[int, int, int]]:
    """Depth, parameters of evaluation and multiply-adds, of every network but the deepest."""
    found = {}
    for name in NETWORKS:
        if PUBLISHED[name].depth < DEEP:
            with Outlines():
                net = NETWORKS[name]()
            steps = layers(net, (3, PUBLISHED[name].size, PUBLISHED[name].size))
            found[name] = depth(steps), sum(s.parameters for s in steps), sum(s.multiply_adds for s in steps)
    return found


def test_every_network_has_a_paper_and_a_depth() -> None:
    assert set(PUBLISHED) == set(NETWORKS)
    for name, entry in PUBLISHED.items():
        assert entry.paper.short.endswith(str(entry.paper.year)), name
        assert entry.paper.arxiv[4] == ".", name
        assert entry.depth > 0, name
        assert entry.size in {32, 224}, name


def test_the_papers_depth_is_the_number_of_weighted_layers_on_the_longest_way(counted: dict) -> None:
    wrong = {
        n: (c[0], PUBLISHED[n].depth) for n, c in counted.items() if c[0] != PUBLISHED[n].depth and not otherwise(n)
    }
    assert not wrong


def test_networks_are_named_for_their_depth() -> None:
    import re

    for name, entry in PUBLISHED.items():
        numbers = re.findall(r"\d+", name)
        assert not numbers or int(numbers[0]) == entry.depth, name


def test_published_parameters_are_the_built_networks_to_the_digits_printed(counted: dict) -> None:
    checked = 0
    for name, (_, parameters, _) in counted.items():
        printed = PUBLISHED[name].parameters
        if printed is not None:
            assert abs(parameters - printed) < unit_in_last_place(printed), name
            checked += 1
    assert checked > 30


def test_published_multiply_adds_are_the_built_networks_to_the_digits_printed(counted: dict) -> None:
    for name, (_, _, multiply_adds) in counted.items():
        printed = PUBLISHED[name].multiply_adds
        if printed is not None:
            assert abs(multiply_adds - printed) < unit_in_last_place(printed), name


def test_what_was_counted_and_what_was_measured_has_a_source() -> None:
    for name, entry in PUBLISHED.items():
        assert bool(entry.counted_by) == bool(entry.parameters or entry.multiply_adds), name
        for result in entry.results:
            assert result.source, name
            assert result.top1 is not None or result.top5 is not None, name
            assert all(0 < error < 50 for error in (result.top1, result.top5) if error is not None), name
