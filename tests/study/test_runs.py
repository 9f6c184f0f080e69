"""Cached training runs: keys, resuming and outcomes."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MakePhotos
from rich.console import Console
from studied import Tiny

from skipway import models
from skipway.data import open_dataset
from skipway.errors import DataError, SkipwayError
from skipway.study import STUDIES
from skipway.study.engine import code_hash, runs, workers
from skipway.study.engine.runner import Request, run_experiment
from skipway.study.engine.runs import Machine, StudyRun, open_cut, records_of, runs_of, train_run
from skipway.study.engine.scale import SCALES, training
from skipway.study.networks.registry import register_study_networks
from skipway.trained import TrainedModel
from skipway.training.loop import train

TINY = SCALES["tiny"]


@pytest.fixture
def run() -> StudyRun:
    return runs_of([training(TINY, "resnet20")], open_cut("digits", TINY.images), TINY, "float32")[0]


def test_a_run_is_identified_by_recipe_data_precision_and_code(run: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    same = replace(run, recipe=training(TINY, "resnet20"))
    others = [
        replace(run, recipe=replace(run.recipe, seed=1)),
        replace(run, fingerprint="other images"),
        replace(run, dtype="bfloat16"),
    ]
    monkeypatch.setattr(runs, "code_of", lambda model: f"code of {model}")
    assert run.key == same.key
    before = run.key
    monkeypatch.setattr(runs, "code_of", lambda model: f"other code of {model}")
    assert len({before, run.key, *(other.key for other in others)}) == 5


COMMENTED = (
    "def f(x):\n    return 2 * x\n",
    '"""D."""\ndef f(x):\n    """D."""\n    return 2*x  # c\n',
    "def f(x):\n    return x\n",
)
DRAWN = (
    "LEAST = 1\ndef analyse(b):\n    return b\ndef draw(f):\n    return 1\nSTUDY = Study(1)\n",
    "LEAST = 1\ndef analyse(b):\n    return b\ndef draw(f):\n    return 2\nSTUDY = Study(2)\n",
    "LEAST = 2\ndef analyse(b):\n    return b\ndef draw(f):\n    return 1\nSTUDY = Study(1)\n",
)


@pytest.mark.parametrize(
    ("fingerprint", "texts"), [(code_hash.syntax, COMMENTED), (code_hash.measurement_syntax, DRAWN)]
)
def test_only_code_that_computes_changes_the_hash(
    tmp_path: Path, fingerprint: Callable[[Path], str], texts: tuple[str, ...]
) -> None:
    files = [tmp_path / f"{i}.py" for i in range(3)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    first, same, changed = map(fingerprint, files)
    assert first == same
    assert first != changed


def test_the_code_of_a_network_is_its_own_modules_and_what_they_import() -> None:
    assert code_hash.defining_module("preresnet110") == "skipway.models.preresnet"
    assert code_hash.with_imports("skipway.models.preresnet", ("models",)) == {
        f"skipway.models.{name}" for name in ("preresnet", "resnet", "base")
    }
    assert code_hash.defining_module("plain20_bare") == "skipway.study.networks.registry"
    assert {"skipway.training.loop", "skipway.training.optimiser"} <= set(code_hash.modules_of("plain20_bare"))
    with pytest.raises(LookupError, match=r"skipway\.training\.keeping"):
        code_hash.existing_modules(["training.keeping"])


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("iterations", [50, 190, 1000, 4000])
def test_a_scale_that_a_budget_cuts_keeps_the_schedule(name: str, iterations: int) -> None:
    for recipe in STUDIES[name].plan(replace(SCALES["small"], iterations=iterations)):
        assert list(recipe.milestones) == sorted(recipe.milestones)
        assert all(0 < milestone < 1 for milestone in recipe.milestones)
        assert len(recipe.factors) == len(recipe.milestones) + 1
        assert max(recipe.factors) == 1


def test_equal_recipes_are_one_run() -> None:
    recipes = [training(TINY, "resnet20"), training(TINY, "resnet56"), training(TINY, "resnet20")]
    assert len(runs_of(recipes, open_cut("digits", 50), TINY, "float32")) == 2


def test_a_killed_study_repeats_only_unfinished_runs(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny("degradation")
    command = [sys.executable, "-m", "skipway", "study", "degradation", "--scale", "tiny", "--out", tmp_path]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, env={**os.environ, **threads}, stdout=subprocess.DEVNULL) as study:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/outcome.json")) and time.monotonic() < deadline and study.poll() is None:
            time.sleep(0.01)
        study.send_signal(signal.SIGKILL)
    finished = {file.parent.name: file.stat().st_mtime_ns for file in tmp_path.glob("runs/*/outcome.json")}
    assert 0 < len(finished) < len(whole.runs)
    trained = []

    def counted(*arguments: Any) -> Path:
        trained.append(arguments[1].model)
        return train(*arguments)

    monkeypatch.setattr(runs, "train", counted)
    again = run_experiment(Request("degradation", "tiny", out=tmp_path), Machine(), Console(quiet=True))
    assert len(trained) == len(whole.runs) - len(finished)
    for name, when in finished.items():
        assert (tmp_path / "runs" / name / "outcome.json").stat().st_mtime_ns == when
    assert again.findings == whole.findings


def test_final_errors_equal_those_of_a_plain_loop(tiny: Tiny, studies: Path) -> None:
    found = next(run for run in tiny("degradation").runs if run["recipe"]["model"] == "resnet20")
    loaded = TrainedModel.load(studies / "runs" / found["key"] / "run")
    net, card = loaded.net, loaded.card
    test = open_dataset("digits").test
    assert test is not None
    chosen = test.take(torch.linspace(0, len(test) - 1, TINY.images).long().numpy())
    chosen = chosen.take(torch.linspace(0, len(chosen) - 1, TINY.judged).long().numpy())
    mean, std = (card.preprocessing[key][0] for key in ("mean", "std"))
    with torch.no_grad():
        scores = net((torch.from_numpy(chosen.items).permute(0, 3, 1, 2) / 255 - mean) / std)
    labels = torch.from_numpy(chosen.labels)
    assert found["test_error"] == pytest.approx(100 * (scores.argmax(1) != labels).double().mean().item())
    assert found["test_loss"] == pytest.approx(torch.nn.functional.cross_entropy(scores, labels).item(), rel=1e-4)


def test_a_diverged_run_counts_as_chance(run: StudyRun, tmp_path: Path) -> None:
    wild = replace(run, recipe=replace(run.recipe, model="plain20_bare", lr=1e30))
    outcome = train_run(wild, tmp_path / wild.key, Machine())
    assert outcome.diverged == "the loss became NaN or infinite in step 2"  # the first makes the weights huge
    assert outcome.test_error == pytest.approx(90)
    assert records_of(tmp_path / wild.key) == []
    assert train_run(wild, tmp_path / wild.key, Machine()) == outcome


def test_a_folder_of_other_code_is_refused(run: StudyRun, tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match="the code changed"):
        train_run(run, tmp_path / "resnet20-0-of-other-code", Machine())


def test_networks_of_studies_are_registered_but_not_listed() -> None:
    before = models.list_models()
    register_study_networks()
    net = models.build("plain20_bare", channels=1)
    assert not [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len([m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]) == 19
    assert models.list_models() == before


def test_unusable_data_are_refused(tmp_path: Path, make_photos: MakePhotos) -> None:
    with pytest.raises(DataError, match="only one class"):
        open_cut(str(make_photos(tmp_path / "one", ("down",))), 0)
    with pytest.raises(DataError, match="no test images"):
        open_cut(str(make_photos(tmp_path / "two", ("down", "across"))), 0)


def test_reduced_splits_are_evenly_spaced() -> None:
    dataset = open_cut("digits", 100)
    assert (len(dataset.train), dataset.test and len(dataset.test)) == (100, 100)
    assert (dataset.train.counts(10) > 0).all()
    assert dataset.train.names[0] == open_dataset("digits").train.names[0]


def test_how_many_runs_are_done_already_is_said_and_only_the_others_are_trained(
    run: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = [replace(run, recipe=replace(run.recipe, seed=seed)) for seed in range(3)]
    outcome, text, trained = runs.Outcome(1.0, 1.0, 0.5, 0.5, "", 1.0, {}), io.StringIO(), []
    monkeypatch.setattr(workers, "outcome_of", lambda folder: outcome if folder.name != three[1].key else None)
    monkeypatch.setattr(workers, "train_run", lambda run, *_: trained.append(run) or outcome)
    workers.train_all(three, tmp_path, Machine(jobs=1), Console(file=text, width=200))
    assert trained == [three[1]]
    assert text.getvalue().splitlines()[0] == "3 training runs, 2 already done"
