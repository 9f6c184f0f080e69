"""What `list`, `show` and `compare` print, and what they refuse."""

import json
import math
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typed import refused

from skipway import models
from skipway.commands import compare, summary
from skipway.reporting.numbers import format_count

# ---------------------------------------------------------------------------------------------------------------------
# list


def test_list_has_a_row_for_every_network(skipway) -> None:
    _, out, _ = skipway("list", "--json")
    assert [row["name"] for row in json.loads(out)] == list(models.NETWORKS)


def test_list_says_what_the_issue_of_a_network_is(skipway) -> None:
    _, out, _ = skipway("list", "resnet50", "--json")
    row = next(row for row in json.loads(out) if row["name"] == "resnet50")
    assert (row["paper"], row["arxiv"], row["depth"], row["size"]) == ("He 2015", "1512.03385", 50, 224)
    assert (row["parameters"], row["multiply_adds"]) == (25_557_032, 4_089_184_256)
    assert (row["top1_error"], row["top5_error"], row["test"]) == (23.87, 7.138, "ImageNet, 1 crop")
    assert "resnet50.tv_v2" in row["weights"]


def test_no_row_of_list_is_wider_than_a_terminal_of_80_columns() -> None:
    text = StringIO()
    summary.print_networks(summary.network_rows("*"), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "…" not in text.getvalue()
    assert any("resnet110_dropout_shortcut" in line for line in lines)
    assert any("resnet50 " in line and "23.87/7.14" in line for line in lines)


def test_list_counts_a_network_that_was_not_counted_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "COUNTED", {})
    assert summary.network_row("resnet20")["parameters"] == 269_722


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (640, "640"), (999_999, "1.00 M"), (25_557_032, "25.6 M"), (4_089_184_256, "4.09 G"), (3e11, "300 G")],
)
def test_counts_are_said_with_three_digits(number: float, words: str) -> None:
    assert format_count(number) == words


# ---------------------------------------------------------------------------------------------------------------------
# show


def test_show_prints_the_totals_beside_the_published_ones(skipway) -> None:
    code, out, _ = skipway("show", "resnet50")
    assert code == 0
    ours, theirs = (next(line for line in out.splitlines() if line.startswith(word)) for word in ("counted", "publish"))
    assert ours.split()[2:7] == ["25,557,032", "4.089", "G", "50", "427"]
    assert theirs.split()[2:] == ["25,557,032", "4.089", "G", "50"]
    assert "top-1 23.87 %, top-5 7.138 % (ImageNet, 1 crop; torchvision, weights V1)" in " ".join(out.split())


def test_show_has_a_line_for_every_layer_with_its_unit(skipway) -> None:
    _, out, _ = skipway("show", "resnet20")
    lines = out.splitlines()
    at = lines.index(next(line for line in lines if line.startswith("layer2.0")))
    assert lines[at + 1].split() == ["conv1", "3x3,", "32,", "/2", "32x16x16", "4,608", "1.18", "M", "17", "32", "KiB"]


def test_an_input_is_a_shape_or_a_side(skipway) -> None:
    for given, shape in (("1x64x96", [1, 64, 96]), ("64", [3, 64, 64])):
        _, out, _ = skipway("show", "resnet18", "--input", given, "--json")
        assert json.loads(out)["input"] == shape
    _, out, _ = skipway("show", "resnet18", "--classes", "7", "--json")
    found = json.loads(out)
    assert (found["classes"], found["layers"][-1]["output"]) == (7, [7])


def test_auxiliary_classifiers_are_told_apart(skipway) -> None:
    _, out, _ = skipway("show", "googlenet", "--json")
    found = json.loads(out)
    assert found["parameters"] - found["in_training_alone"] == 6_624_904  # torchvision's
    assert sum(row["parameters"] for row in found["layers"]) == 6_624_904


def test_show_refuses_what_cannot_be_shown(skipway, tmp_path: Path) -> None:
    refused(skipway("show", "resnet5"), "did you mean 'resnet5")
    for wrong in ("3x224", "a", "3x0x224", "-3x4x4", "3x224x224x1"):
        refused(skipway("show", "resnet18", "--input", wrong), "is not a shape")
    refused(skipway("show", "resnet18", "--input", "16"), "too small for resnet18: the smallest is 32")
    refused(skipway("show", "resnet18", "resnet34", "resnet50"), "3 networks to show")
    (tmp_path / "old.html").write_text("mine")
    refused(skipway("show", "resnet20", "--html", "old.html"), "old.html exists")
    refused(skipway("show", "resnet20", "--html", "no/folder.html"), "there is no folder no")
    assert (tmp_path / "old.html").read_text() == "mine"


# ---------------------------------------------------------------------------------------------------------------------
# compare


def test_compare_measures_speed_and_memory(skipway) -> None:
    code, out, err = skipway(
        "compare", "resnet18", "--batch", "1", "--device", "cpu", "--precision", "float32", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    row = found["networks"][0]
    assert row["images_per_second"] > 0.1
    assert 4 * row["parameters"] < row["peak_bytes"] < 20 * row["parameters"]  # the weights, and not the whole process
    assert (found["measured"]["batch"], found["measured"]["precision"]) == (1, "float32")


def test_compare_prints_the_published_alone_when_asked(skipway) -> None:
    code, out, _ = skipway("compare", "resnet50", "vgg16", "resnet20", "--no-measure")
    assert code == 0
    assert "23.87/7.14" in out
    assert "images/s" not in out


def test_compare_draws_what_was_judged_alike_and_names_the_rest(skipway) -> None:
    code, _, err = skipway("compare", "resnet18", "resnet50", "resnet20", "--no-measure", "--plot", "all.png")
    assert code == 0
    assert "not evaluated on ImageNet, 1 crop: resnet20" in err
    with Image.open("all.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
    refused(skipway("compare", "resnet18", "--plot", "all.png"), "all.png exists")
    refused(skipway("compare", "plain20", "--plot", "none.png"), "nothing to plot")
    assert not Path("none.png").exists()


def test_names_in_the_plot_do_not_cover_each_other() -> None:
    from matplotlib.figure import Figure

    names = ["resnet50", "resnext50_32x4d", "densenet201", "resnet152", "wide_resnet50_2", "resnet101", "resnet34"]
    points = compare.points_of(names)
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    compare.draw(axes, points)
    figure.draw_without_rendering()
    compare.label(axes, points)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(names)
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_compare_refuses_unknown_and_repeated_names(skipway) -> None:
    refused(skipway("compare", "resnet18", "resnet5"), "did you mean 'resnet5")
    refused(skipway("compare", "resnet18", "resnet18"), "resnet18 is named twice")


def test_a_name_in_the_plot_for_which_there_is_no_room_is_at_the_farthest_place(monkeypatch) -> None:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    axes = Figure(figsize=(8, 5.2)).subplots()
    points = compare.points_of(["resnet18"])
    compare.draw(axes, points)
    monkeypatch.setattr(Bbox, "overlaps", lambda *_: True)
    compare.label(axes, points)
    (name,) = axes.texts
    radius = (compare.area(points[0], points[0]["parameters"]) / math.pi) ** 0.5
    assert name.get_position() == pytest.approx(compare.spots(radius)[-1])
