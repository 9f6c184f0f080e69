"""A search over a recipe's fields: what it tries, and that a kill changes nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MakePhotos
from small import CPU, Killed, before_step

import skipway
from skipway.commands import tune as command
from skipway.commands.search_space import parse_search
from skipway.commands.train import resolve_recipe
from skipway.commands.tune import Tuning, train_command, tune
from skipway.data import open_dataset
from skipway.data.read_options import ReadOptions
from skipway.errors import SkipwayError

pytest.importorskip("optuna")
FIELDS: dict[str, Any] = {"size": 16, "batch": 8, "val": 0.25, "epochs": 2}
SEARCH = {"lr": "log:0.001:1", "model": "choice:resnet20:plain20", "label_smoothing": "float:0:0.2"}


@pytest.fixture(scope="module")
def photos(make_photos: MakePhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("tune") / "photos", each=6)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuning]:
    yield tune(photos, SEARCH, 4, "quick", tmp_path_factory.mktemp("whole") / "out", CPU, **FIELDS)


def test_trials_try_values_within_their_ranges(whole: Tuning) -> None:
    assert [one.number for one in whole.trials] == [1, 2, 3, 4]
    for one in whole.trials:
        assert 0.001 <= one.values["lr"] <= 1
        assert one.values["model"] in ("resnet20", "plain20")
        assert 0 <= one.values["label_smoothing"] <= 0.2
    assert len({one.values["lr"] for one in whole.trials}) == 4


def test_the_best_recipe_trains_to_the_figure_of_its_trial(tmp_path: Path, photos: Path, whole: Tuning) -> None:
    best = max((one for one in whole.trials if one.state == "complete"), key=lambda one: one.value or 0)
    assert whole.value == best.value
    run = skipway.train(photos, str(whole.path / "best.json"), tmp_path / "run", CPU)
    assert run.history[-1]["val_top1"] == best.value
    assert run.card.recipe["lr"] == best.values["lr"]


def test_the_command_to_train_with_reads_the_images_as_the_search_did(photos: Path) -> None:
    read = open_dataset(str(photos), ReadOptions(task="generate"))
    left_out = replace(read, left_out=(("a.png", "cannot be read"),))
    assert train_command(read, Path("best.json")) == f"skipway train {photos} --task generate --recipe best.json"
    assert "--bad skip" in train_command(left_out, Path("best.json"))


@pytest.mark.parametrize("step", [2, 6, 9])
def test_a_search_that_was_killed_tries_and_finds_the_same(
    tmp_path: Path, photos: Path, whole: Tuning, step: int
) -> None:
    def die() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        before_step(patch, step, die)
        tune(photos, SEARCH, 4, "quick", tmp_path / "out", CPU, **FIELDS)
    again = tune(resume=tmp_path / "out")
    assert again.trials == whole.trials
    assert again.best == whole.best


def test_a_search_goes_on_with_more_trials(
    photos: Path, tmp_path: Path, whole: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(photos, SEARCH, 2, "quick", tmp_path / "out", CPU, **FIELDS)
    longer = tune(resume=tmp_path / "out", trials=4)
    assert longer.trials == whole.trials
    with monkeypatch.context() as patch:  # nothing is left to do
        patch.setattr(command, "fit", lambda *_, **__: pytest.fail("a trial was trained again"))
        assert tune(resume=tmp_path / "out").trials == whole.trials


def test_a_trial_worse_than_the_median_is_ended_and_a_failed_one_does_not_end_the_search(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.95])
    trained: list[int] = []

    def scripted(dataset: Any, recipe: Any, out: Path, *_: Any, after_epoch: Any) -> None:
        assert dataset.test is None, "test was handed to a trial"
        trained.append(0)
        if len(trained) == 3:
            raise SkipwayError("this does not fit")
        figure = next(figures)
        for epoch in (1, 2):
            trained[-1] = epoch
            after_epoch({"epoch": epoch, "val_top1": figure})

    monkeypatch.setattr(command, "fit", scripted)
    kept = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.95])
    monkeypatch.setattr(command, "kept_value", lambda *_: next(kept))
    found = tune(photos, SEARCH, 8, "quick", tmp_path / "out", CPU, **FIELDS)
    assert [one.state for one in found.trials] == [
        *["complete", "complete", "failed"],
        *["complete"] * 3,
        "pruned",
        "complete",
    ]
    assert trained == [2, 2, 0, 2, 2, 2, 1, 2]
    assert found.trials[2].error == "this does not fit"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "this does not fit" in page
    assert page.count("<svg") == 1 + len(SEARCH)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["best"] == 8


@pytest.mark.parametrize(
    ("search", "fields", "said"),
    [
        ([], {}, "there is nothing to search: give --search"),
        (["rate=log:0.1:1"], {}, "unknown field 'rate'"),
        (["lr=log:0:1"], {}, "must be below the second and above 0"),
        (["lr=int:1:2"], {}, "lr is searched by float, log or choice"),
        (["epochs=int:five:9"], {}, "must have two numbers after int"),
        (["lr"], {}, "must be FIELD=KIND:LOW:HIGH"),
        (["flip=choice:true"], {}, "at least two different choices"),
        (["batch=choice:8:many"], {}, "--batch must be a whole number, not 'many'"),
        (["val=float:0.1:0.3"], {}, "would change what trials are compared by"),
        (["lr=log:0.1:1", "lr=log:0.1:2"], {}, "has lr twice"),
        (["lr=log:0.1:1"], {"lr": 0.5}, "lr is searched and given"),
        (["lr=log:0.1:1"], {"val": 0.0}, "trials are compared by val, and there is none"),
    ],
)
def test_a_search_that_cannot_be_is_refused_and_leaves_nothing(
    tmp_path: Path, photos: Path, search: list[str], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(SkipwayError, match=said) as refused:
        tune(photos, search, 2, "quick", tmp_path / "out", CPU, **FIELDS | fields)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_ranges_are_written_as_they_are_read() -> None:
    texts = ["lr=log:0.01:1", "epochs=int:5:30", "batch=int-log:8:256", "model=choice:resnet20:plain20"]
    assert [one.text() for one in parse_search(texts)] == texts
    assert parse_search({"weight-decay": "log:1e-05:0.01"})[0].field == "weight_decay"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("{", "Expecting"), ("{}", "the recipe's field")]
)
def test_a_recipe_file_that_cannot_be_read_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "recipe.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SkipwayError, match=rf"--recipe {file}.*{said}"):
        resolve_recipe(str(file), {})
