"""Early stopping: when a run ends, and whose weights it leaves."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from small import CPU, QUIET, SHORT, few_digits, killed_at, same, weights

from skipway import bundle
from skipway.errors import SkipwayError
from skipway.tasks.classify.metrics import ClassMetrics
from skipway.training import loop
from skipway.training.checkpoint_manager import FOLDER, checkpoints, read
from skipway.training.state_codec import part

PATIENT = replace(SHORT, epochs=8, patience=2)
FIGURES = (0.2, 0.5, 0.4, 0.5, 0.9)  # of val: the best is the second; the fourth only equals it, the fifth never comes


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """scripted(*figures): the figures that successive epochs have on val, whatever the network does."""
    computed = ClassMetrics.compute

    def script(*figures: float) -> None:
        coming = iter(figures)
        monkeypatch.setattr(ClassMetrics, "compute", lambda own: computed(own) | {"top1": next(coming)})

    return script


def trained(out: Path, console: Console = QUIET, resume: bool = False, **fields: Any) -> Path:
    return loop.train(few_digits(), replace(PATIENT, **fields), out, CPU, console, resume)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_run_stops_after_patience_and_keeps_the_best_epoch(
    tmp_path: Path, scripted: Callable[..., None], average: float
) -> None:
    scripted(*FIGURES)
    with (tmp_path / "log").open("w") as log:
        run = trained(tmp_path / "run", Console(file=log, width=200), average=average)
    assert [record["val_top1"] for record in records(run)] == list(FIGURES[:4])
    saved = next(folder for folder in checkpoints(run) if folder.name.startswith("epoch-0002"))
    tensors = read(saved).tensors
    expected = part(tensors, "avg.module.") if average else part(tensors, "net.")
    assert same(weights(run), expected)
    kept = {"epoch": 2, "epochs": 4, "early": True, "figure": "val_top1", "value": 0.5}
    assert bundle.read_card(run).kept == kept
    assert "stopped early after epoch 4" in (tmp_path / "log").read_text()


def test_a_figure_that_is_no_number_is_not_the_best(tmp_path: Path, scripted: Callable[..., None]) -> None:
    scripted(math.nan, 0.3, 0.2, 0.1)
    assert bundle.read_card(trained(tmp_path / "run")).kept["epoch"] == 2


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_weights_kept_are_those_of_a_run_that_ended_there(tmp_path: Path, scripted: Callable[..., None]) -> None:
    steady = {"schedule": "step", "milestones": (), "factors": (1.0,)}  # no schedule that depends on the length
    scripted(*FIGURES)
    run = trained(tmp_path / "run", **steady)
    scripted(*FIGURES)
    assert same(weights(run), weights(trained(tmp_path / "two", epochs=2, patience=0, **steady)))


def test_a_run_that_is_killed_stops_after_the_same_epoch_with_the_same_weights(
    tmp_path: Path, scripted: Callable[..., None]
) -> None:
    scripted(*FIGURES)
    whole = trained(tmp_path / "whole")
    scripted(*FIGURES)
    with killed_at(25):  # in the third epoch of 11 steps, after the checkpoint of the best one
        trained(tmp_path / "killed")
    scripted(*FIGURES[2:])
    again = trained(tmp_path / "killed", resume=True)
    assert same(weights(whole), weights(again))
    assert bundle.read_card(again).kept == bundle.read_card(whole).kept


def test_a_run_that_is_killed_after_it_stopped_writes_the_best_epoch(
    tmp_path: Path, scripted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(*FIGURES)
    whole = trained(tmp_path / "whole")
    scripted(*FIGURES)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "keep_best", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "killed")
    assert same(weights(whole), weights(trained(tmp_path / "killed", resume=True)))


def test_a_run_that_never_gets_worse_is_as_long_as_without(tmp_path: Path, scripted: Callable[..., None]) -> None:
    scripted(0.1, 0.2, 0.3)
    run = trained(tmp_path / "run", epochs=3)
    card = bundle.read_card(run)
    assert (card.kept["epoch"], card.kept["epochs"], card.kept["early"]) == (3, 3, False)
    scripted(0.1, 0.2, 0.3)
    assert same(weights(run), weights(trained(tmp_path / "without", epochs=3, patience=0)))


def test_the_best_epoch_without_its_checkpoint_is_an_error_and_nothing_is_written(
    tmp_path: Path, scripted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(*FIGURES)
    stopped = loop.keep_best

    def damaged(run: Any, state: Any) -> None:
        best = next(folder for folder in checkpoints(run.out) if folder.name.startswith("epoch-0002"))
        (best / "state.safetensors").write_bytes(b"")
        stopped(run, state)

    monkeypatch.setattr(loop, "keep_best", damaged)
    with pytest.raises(SkipwayError, match=r"the best epoch, cannot be used .*checksum differs"):
        trained(tmp_path / "run")
    assert not (tmp_path / "run" / bundle.SUMS).exists()
    assert (tmp_path / "run" / FOLDER).is_dir()


def test_patience_without_val_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match=r"--patience stops by val, and there is none: give --val"):
        trained(tmp_path / "run", val=0.0)
    assert not (tmp_path / "run").exists()


def test_what_is_kept_does_not_depend_on_what_followed(tmp_path: Path, scripted: Callable[..., None]) -> None:
    """The checkpoint of the best epoch outlives those of many worse ones."""
    scripted(0.9, *[0.1] * 5)
    run = trained(tmp_path / "run", patience=5)
    first = next(folder for folder in checkpoints(run) if folder.name.startswith("epoch-0001"))
    kept = part(read(first).tensors, "avg.module.")
    assert all(torch.equal(weights(run)[name], kept[name]) for name in kept)
    assert bundle.read_card(run).kept["epochs"] == 6
