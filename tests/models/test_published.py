"""What was published, against the networks as they are built."""

import pytest

from skipway.hardware import ShapesOnly
from skipway.models import NETWORKS, build
from skipway.models.analysis.flops import COUNTED
from skipway.models.analysis.paper_results import PUBLISHED
from skipway.models.analysis.trace import depth, layers

# Printed totals that the networks miss by one or two per cent.
NEARLY = {
    "highway32": "the paper gives the total and not the widths",
    "preresnet1001": "the paper prints 10.2 million for what has 10.3",
}


def unit_in_last_place(number: int) -> int:
    """1,700,000 was printed to hundreds of thousands."""
    return 10 ** (len(str(number)) - len(str(number).rstrip("0")))


def test_every_network_has_a_paper_and_a_depth() -> None:
    assert set(PUBLISHED) == set(NETWORKS)
    for name, entry in PUBLISHED.items():
        assert entry.paper.short.endswith(str(entry.paper.year)), name
        assert entry.paper.arxiv[4] == ".", name
        assert entry.depth > 0, name
        assert entry.size in {32, 224}, name


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet50", "resnet152_v1", "resnet56", "plain34", "resnet50_blur", "resnext29_8x64d"),
        *("wide_resnet50_2", "densenet121", "densenet40_12", "vgg16_bn", "googlenet", "alexnet", "highway19"),
        *("preresnet164", "resnet110_exclusive_gate"),
    ],
)
def test_the_papers_depth_is_the_number_of_weighted_layers_on_the_longest_way(name: str) -> None:
    with ShapesOnly():
        net = build(name)
    assert depth(layers(net, (3, PUBLISHED[name].size, PUBLISHED[name].size))) == PUBLISHED[name].depth


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("resnet50d", 2),  # the stem's one layer has become three, and the name stayed
        ("seresnet18", 2 * 8),  # two layers a unit weigh the channels, and are not counted
        ("wrn28_10", -2),  # three projections are counted, and the classifier is not
    ],
)
def test_other_papers_count_otherwise(name: str, more: int) -> None:
    with ShapesOnly():
        net = build(name)
    assert depth(layers(net, (3, PUBLISHED[name].size, PUBLISHED[name].size))) == PUBLISHED[name].depth + more


def test_networks_are_named_for_their_depth() -> None:
    import re

    for name, entry in PUBLISHED.items():
        numbers = re.findall(r"\d+", name)
        assert not numbers or int(numbers[0]) == entry.depth, name


def test_published_parameters_are_the_built_networks_to_the_digits_printed() -> None:
    """`COUNTED` is what the networks have: test_layers.py."""
    printed = {name: entry.parameters for name, entry in PUBLISHED.items() if entry.parameters is not None}
    assert len(printed) > 30
    for name, number in printed.items():
        off = abs(COUNTED[name][0] - number)
        assert off < (0.02 * number if name in NEARLY else unit_in_last_place(number)), name


def test_published_multiply_adds_are_the_built_networks_to_the_digits_printed() -> None:
    printed = {name: entry.multiply_adds for name, entry in PUBLISHED.items() if entry.multiply_adds is not None}
    assert len(printed) > 20
    for name, number in printed.items():
        assert abs(COUNTED[name][1] - number) < unit_in_last_place(number), name


def test_what_was_counted_and_what_was_measured_has_a_source() -> None:
    for name, entry in PUBLISHED.items():
        assert bool(entry.counted_by) == bool(entry.parameters or entry.multiply_adds), name
        for result in entry.results:
            assert result.source, name
            assert result.top1 is not None or result.top5 is not None, name
            assert all(0 < error < 50 for error in (result.top1, result.top5) if error is not None), name
