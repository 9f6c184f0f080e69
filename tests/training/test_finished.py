"""A run that is finished is known as such, and one that is not is not."""

from dataclasses import replace
from pathlib import Path

import pytest
from small import CPU, SHORT, few_digits

from skipway import bundle
from skipway.commands import train
from skipway.training.finished import finished_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train.train(few_digits(), replace(SHORT, epochs=2), out, CPU)
    return out


def test_a_finished_run_tells_epochs_figure_report_and_how_to_train_longer(run: Path) -> None:
    line = finished_run(run)
    assert line is not None
    assert "\n" not in line
    top1 = 100 * bundle.read_card(run).metrics["val"]["top1"]
    assert line.startswith(f"{run} is finished: 2 epochs, val top-1 {top1:.2f} %")
    assert f"report {run / 'report.html'}; to train longer, start a new run with a larger --epochs" in line


@pytest.mark.parametrize("missing", [bundle.SUMS, "report.html", "weights.safetensors", "metrics.jsonl"])
def test_a_run_of_which_something_is_missing_is_not_finished(run: Path, missing: str) -> None:
    content = (run / missing).read_bytes()
    (run / missing).unlink()
    try:
        assert finished_run(run) is None
    finally:
        (run / missing).write_bytes(content)


def test_a_changed_network_and_one_that_was_not_judged_are_not_finished(run: Path) -> None:
    card = bundle.read_card(run)
    content = (run / "card.json").read_bytes()
    (run / "card.json").write_bytes(content + b" ")
    assert finished_run(run) is None
    bundle.seal(run, replace(card, metrics={}, summaries={}))
    assert finished_run(run) is None
    bundle.seal(run, card)
    assert finished_run(run) is not None


def test_a_folder_that_holds_no_run_is_not_finished(tmp_path: Path) -> None:
    assert finished_run(tmp_path) is None
    assert finished_run(tmp_path / "nowhere") is None
