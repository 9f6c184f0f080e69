"""Runs that end too early, and go on as if they had not."""

import io
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from small import CPU, EVERY_2, QUIET, SHORT, before_step, few_digits, killed_at, losses, same, weights

from skipway import bundle, hardware
from skipway.commands import train
from skipway.data.dataset import Dataset
from skipway.errors import SkipwayError
from skipway.training import loop, validation
from skipway.training.checkpoint_manager import checkpoints
from skipway.training.recipes import Recipe
from skipway.training.signals import Interrupted


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """40 to train on, which are 5 steps an epoch of SHORT."""
    return few_digits(50)


def fit(dataset: Dataset, recipe: Recipe, out: Path, resume: bool = False) -> Path:
    return loop.train(dataset, recipe, out, CPU, QUIET, resume, EVERY_2)


@pytest.fixture(scope="module")
def whole(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of SHORT that was not interrupted, to be compared with."""
    return fit(digits, SHORT, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "adamw", "lr": 0.002, "mixup": 0.2, "cutmix": 1.0, "average": 0.0},
        {"optimiser": "muon", "micro": 3, "small": 6, "small_epochs": 2, "balance": "weights"},
        {"balance": "sampler", "survival": 0.8, "freeze": 1, "freeze_norm": False},
    ],
)
def test_a_run_killed_three_times_in_the_middle_of_epochs_ends_with_the_same_weights(
    digits: Dataset, tmp_path: Path, changes: dict
) -> None:
    recipe = replace(SHORT, **changes)
    whole, cut = fit(digits, recipe, tmp_path / "whole"), tmp_path / "cut"
    for number, step in enumerate((4, 6, 7)):  # 15 steps in all, of which each time up to 2 are done again
        with killed_at(step):
            fit(digits, recipe, cut, resume=bool(number))
        assert not (cut / bundle.SUMS).exists()
    fit(digits, recipe, cut, resume=True)
    assert same(weights(whole), weights(cut))
    assert losses(whole) == losses(cut)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_saves_it_and_says_how_to_go_on(
    digits: Dataset, whole: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    cut = tmp_path / "cut"
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted) as stopped:
        before_step(patch, 7, lambda: os.kill(os.getpid(), number))
        fit(digits, SHORT, cut)
    assert stopped.value.code == code
    assert str(stopped.value).endswith(f"after step 7; to continue: skipway train --resume {cut}")
    assert checkpoints(cut)[0].name == "epoch-0001-step-00000007"
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    fit(digits, SHORT, cut, resume=True)
    assert same(weights(whole), weights(cut))
    assert losses(whole) == losses(cut)


def test_a_signal_during_validation_is_answered_between_its_batches(
    digits: Dataset, whole: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    validate, calls = validation.validate, []

    def interrupted(*given: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(validation, "validate", interrupted)
        fit(digits, SHORT, cut)
    assert checkpoints(cut)[0].name == "epoch-0001-step-00000010"
    fit(digits, SHORT, cut, resume=True)
    assert same(weights(whole), weights(cut))
    assert losses(whole) == losses(cut)


def test_a_run_killed_before_its_first_checkpoint_begins_anew_and_says_so(
    digits: Dataset, whole: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    with killed_at(2):
        fit(digits, SHORT, cut)
    said = io.StringIO()
    loop.train(digits, SHORT, cut, CPU, Console(file=said, width=300), resume=True, options=EVERY_2)
    assert "has no checkpoint yet: the run starts from the beginning" in said.getvalue()
    assert same(weights(whole), weights(cut))


def test_the_folder_is_all_that_a_run_needs_to_go_on_from_anywhere(
    make_photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "photos", each=6)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = Recipe("six steps", model="resnet20", size=16, epochs=3, batch=8, lr=0.05, val=0.0)
    settings = hardware.decide("cpu", precision="float32", workers=0)
    whole = train.train("photos", recipe, "whole", settings)
    with killed_at(4):
        train.train("photos", recipe, "cut", settings, options=EVERY_2)
    monkeypatch.chdir(tmp_path / "elsewhere")
    train.resume("../cut")
    assert same(weights(tmp_path / whole), weights(tmp_path / "cut"))
    cards = [bundle.read_card(tmp_path / name) for name in ("whole", "cut")]
    assert cards[0].data == cards[1].data
    assert cards[0].hardware == cards[1].hardware


def test_a_lower_rate_may_be_chosen_to_go_on_and_is_said_but_no_other_network(digits: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with killed_at(6):
        fit(digits, SHORT, run)
    with pytest.raises(SkipwayError, match=r"started with another recipe \(epochs, model\)"):
        fit(digits, replace(SHORT, model="plain20", epochs=2), run, resume=True)
    said = io.StringIO()
    loop.train(digits, replace(SHORT, lr=0.01), run, CPU, Console(file=said, width=300), resume=True, options=EVERY_2)
    assert "recipe lr: 0.2 before, 0.01 now" in said.getvalue()


def test_another_precision_is_named(digits: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with killed_at(4):
        fit(digits, SHORT, run)
    said = io.StringIO()
    other = "float32" if CPU.summary()["precision"] == "bfloat16" else "bfloat16"
    settings = hardware.decide("cpu", precision=other, workers=0)
    loop.train(digits, SHORT, run, settings, Console(file=said, width=300), resume=True)
    assert f"hardware precision: {CPU.summary()['precision']} before, {other} now" in said.getvalue()
