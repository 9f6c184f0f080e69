"""The mean of several runs' weights as a new network."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import CPU, QUIET, SHORT, few_digits, same, weights

import skipway
from skipway import bundle
from skipway.commands.average import average, measure_statistics
from skipway.data.dataset import Dataset, with_validation
from skipway.errors import SkipwayError
from skipway.trained import TrainedModel
from skipway.training import loop

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def digits() -> Dataset:
    dataset = skipway.open_dataset("digits")
    return replace(few_digits(), test=dataset.test)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """A start, and two trainings from it that differ in their rate."""
    folder = tmp_path_factory.mktemp("runs")
    first = loop.train(digits(), SHORT, folder / "start", CPU, QUIET)
    tuned = replace(SHORT, epochs=1, pretrained=str(first))
    yield [loop.train(digits(), replace(tuned, lr=lr), folder / f"rate-{lr}", CPU, QUIET) for lr in (0.02, 0.05)]


def test_weights_are_the_means_and_norms_are_measured_anew(tmp_path: Path, runs: list[Path]) -> None:
    run = average(runs, tmp_path / "mean", digits(), CPU)
    one, other, found = (weights(folder) for folder in (*runs, run.path))
    for name, value in found.items():
        if not name.endswith(STATISTICS):
            torch.testing.assert_close(value, (one[name] + other[name]) / 2)
    assert run.card.recipe["name"] == "average"
    assert run.card.recipe["members"] == [str(folder) for folder in runs]
    assert run.metrics["n"] == len(digits().test or [])
    assert "The mean of the weights of" in run.report.read_text()


def test_a_single_image_after_the_whole_batches_is_left_out(runs: list[Path]) -> None:
    """It has no variance where the map has one pixel."""
    model, norm = TrainedModel.load(runs[0]), torch.nn.BatchNorm2d(1)
    net: Any = torch.nn.Sequential(torch.nn.AvgPool2d(8), norm)
    images = digits().train.take(np.arange(9))
    card = replace(model.card, recipe={**model.card.recipe, "batch": 8})
    measure_statistics(replace(model, net=net.eval()), images, card, CPU)
    first = torch.from_numpy(np.stack(list(images.items)[:8])).permute(0, 3, 1, 2)
    expected = model.preprocessing.normalised(first).mean((1, 2, 3))
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(expected.mean().item(), abs=1e-6)
    assert norm.running_var.item() == pytest.approx(expected.var().item(), rel=1e-5)


def test_the_statistics_are_those_of_the_training_images(tmp_path: Path, runs: list[Path]) -> None:
    """The first norm's mean is the mean of the first convolution's output over train, computed here by itself."""
    run = average(runs, tmp_path / "mean", digits(), CPU)
    model = TrainedModel.load(run.path)
    train = with_validation(digits(), SHORT.val, SHORT.seed).train
    images = torch.from_numpy(np.stack(list(train.items))).permute(0, 3, 1, 2)
    first = model.net.get_submodule(model.net.first)
    with torch.no_grad():
        outputs = first(model.preprocessing.normalised(images))
    assert weights(run.path)["bn1.running_mean"] == pytest.approx(outputs.mean((0, 2, 3)).numpy(), abs=0.05)


def test_the_average_of_a_run_with_itself_is_the_run(tmp_path: Path, runs: list[Path]) -> None:
    run = average([runs[0], runs[0]], tmp_path / "same", digits(), CPU)
    assert same(weights(run.path), weights(runs[0]))


def changed(run: Path, to: Path, **fields: Any) -> Path:
    """The bundle `run` with other fields of its card."""
    card = bundle.read_card(run)
    to.mkdir()
    bundle.write(to, weights(run), replace(card, metrics={}, summaries={}, calibration=None, **fields))
    return to


def test_runs_that_do_not_belong_together_are_refused_in_a_line(tmp_path: Path, runs: list[Path]) -> None:
    card = bundle.read_card(runs[0])
    turned = changed(runs[0], tmp_path / "turned", classes=card.classes[::-1])
    moved = changed(runs[0], tmp_path / "moved", data={**card.data, "fingerprint": "0" * 64})
    shifted = {**card.preprocessing, "mean": [0.1 + value for value in card.preprocessing["mean"]]}
    brighter = changed(runs[0], tmp_path / "brighter", preprocessing=shifted)
    reseeded = changed(runs[0], tmp_path / "reseeded", recipe={**card.recipe, "seed": 9})
    cases: list[tuple[list[Path], Dataset, str]] = [
        ([runs[0]], digits(), "at least two runs are averaged"),
        ([runs[0], turned], digits(), "differ in classes"),
        ([runs[0], brighter], digits(), r"differ in preprocessing \(mean\)"),
        ([runs[0], moved], digits(), "were trained on other images"),
        (runs, few_digits(200), "these are other images"),
    ]
    for given, dataset, said in cases:
        with pytest.raises(SkipwayError, match=said) as refused:
            average(given, tmp_path / "out", dataset, CPU)
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "out").exists()
    mixed = average([runs[0], reseeded], tmp_path / "mixed", digits(), CPU)
    assert list(mixed.metrics and mixed.card.metrics) == ["test"], "val of one was learned from by the other"
