"""`skipway runs`: every folder is listed with what its files say, and none is a traceback."""

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from small import CPU, QUIET, SHORT, few_digits, killed_at
from typer.testing import CliRunner

import skipway
from skipway import bundle
from skipway.cli import app
from skipway.commands import chosen_training, cross_validate, tune
from skipway.commands.runs import Runs
from skipway.errors import SkipwayError
from skipway.training import loop
from skipway.training.run_manifest import RunOptions

RECIPE = replace(SHORT, epochs=1, model="resnet20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """better and worse, two finished runs; group/stopped, one killed after 7 steps; what is no run, or no whole one."""
    root = tmp_path_factory.mktemp("listed") / "runs"
    better = loop.train(few_digits(), RECIPE, root / "better", CPU, QUIET)
    shutil.copytree(better, root / "worse")
    for name, top1, when in (("better", 0.9, "2026-02-01"), ("worse", 0.7, "2026-03-01")):
        card = bundle.read_card(root / name)
        recipe = {**card.recipe, "lr": 0.1 * len(name), "milestones": [0.5, 0.75]}
        metrics = {
            split: {"n": 30, "loss": 1.0, "top1": top1 - less, "top1_interval": [0, 1]}
            for split, less in (("val", 0.05), ("test", 0))
        }
        when = f"{when}T10:00:00+00:00"
        bundle.seal(root / name, replace(card, recipe=recipe, metrics=metrics, summaries={}, created=when))
    with killed_at(8):
        options = RunOptions(checkpoint_steps=7)
        loop.train(few_digits(), RECIPE, root / "group" / "stopped", CPU, QUIET, options=options)
    (root / "photos" / "cats").mkdir(parents=True)
    for name, change in (("changed", "{"), ("lacking", None)):
        shutil.copytree(better, root / name)
        (root / name / "card.json").write_text(change) if change else (root / name / "weights.safetensors").unlink()
    (root / "strange").mkdir()
    (root / "strange" / "run.json").write_text("[]")
    (root / "loop").symlink_to(root)
    return root


@pytest.fixture
def found(folder: Path) -> Runs:
    return skipway.runs(folder, sort="name")


def said(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


def test_every_folder_is_listed_once_with_its_state(found: Runs) -> None:
    assert {row.name: row.state for row in found} == {
        "better": "finished",
        "changed": "broken",
        "group/stopped": "unfinished",
        "lacking": "broken",
        "photos": "no run",
        "strange": "broken",
        "worse": "finished",
    }
    notes = {row.name: row.note for row in found}
    assert notes["group/stopped"] == "at step 7"
    assert notes["changed"].startswith("card.json was changed")
    assert notes["lacking"].startswith("weights.safetensors is missing")
    assert notes["strange"].startswith("run.json cannot be read")
    assert not any("\n" in note for note in notes.values())


def test_figures_are_those_of_the_card_and_the_records(found: Runs, folder: Path) -> None:
    row, run = found.filtered(name="better")[0], skipway.load(folder / "better")
    assert (row.metric, row.val, row.test) == ("top1", pytest.approx(0.85), 0.9)
    assert (row.network, row.data, row.seconds) == ("resnet20", "digits", run.card.seconds)
    assert (row.epochs, row.images_per_second) == (1, run.history[-1]["images_per_second"])
    assert row.bytes == sum(file.stat().st_size for file in (folder / "better").iterdir() if file.is_file())
    assert skipway.load(row).card == run.card


def test_sorted_by_metric_date_and_name(found: Runs) -> None:
    names = [row.name for row in found.sorted("metric")]
    assert names[:2] == ["better", "worse"]
    assert [row.name for row in found.filtered(state="finished").sorted("date")] == ["worse", "better"]
    assert [row.name for row in found.sorted("name")] == sorted(row.name for row in found)
    with pytest.raises(SkipwayError, match="did you mean 'metric'"):
        found.sorted("metrics")


def test_a_loss_is_best_where_it_is_lowest(found: Runs) -> None:
    rows = tuple(replace(row, higher_is_better=False) for row in found.filtered(state="finished"))
    assert [row.name for row in Runs("", rows).sorted("metric")] == ["worse", "better"]


def test_differences_are_the_settings_that_differ_and_no_others(folder: Path) -> None:
    both = skipway.runs([folder / "better", folder / "worse"], sort="name")
    assert both.differences() == {"lr": pytest.approx([0.6, 0.5])}
    with_stopped = skipway.runs([folder / "worse", folder / "group"], sort="name").differences()
    assert with_stopped == {"lr": [RECIPE.lr, pytest.approx(0.5)]}
    with pytest.raises(SkipwayError, match=r"^1 of these folders hold a run that can be read: give two or more$"):
        skipway.runs(folder / "worse").differences()


def test_a_field_that_an_older_run_does_not_have_is_off(found: Runs) -> None:
    new, old = found.filtered(state="finished")
    settings = {name: value for name, value in old.settings.items() if name not in ("mixup", "epochs", "lr")}
    older = replace(old, settings=settings)
    assert new.settings["mixup"] == 0
    assert Runs("", (new, older)).differences() == {"epochs": [1, None], "lr": [pytest.approx(0.6), None]}


def test_the_command_prints_what_python_has(folder: Path, found: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(said(folder, "--sort", "name", "--json").stdout)
    assert rows == json.loads(json.dumps([row.to_json() for row in found]))
    monkeypatch.setenv("COLUMNS", "200")
    lines = said(folder, "--sort", "metric", "--filter", "network=resnet*").stdout.splitlines()
    assert lines[0].split()[:3] == ["run", "task", "network"]
    assert [line.split()[0] for line in lines[1:]] == ["better", "worse", "group/stopped"]
    assert "at step 7" in lines[3]
    everything = said(folder).stdout
    assert "photos: no run, has neither card.json nor run.json" in everything
    compared = json.loads(said(folder / "better", folder / "worse", "--compare", "--sort", "name", "--json").stdout)
    assert list(compared["differences"]) == ["lr"]
    table = said(folder / "better", folder / "worse", "--compare").stdout
    assert "lr" in table and "milestones" not in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist: give a folder with runs"),
        ([".", "--sort", "size"], "unknown --sort 'size'"),
        ([".", "--filter", "network"], "--filter network has no ="),
        ([".", "--filter", "epochs=3"], "unknown --filter 'epochs'"),
        ([".", "--html", "no/where.html"], "there is no folder no"),
        ([".", "--compare"], "0 of these folders hold a run"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = said(*arguments)
    assert isinstance(result.exception, SkipwayError)
    assert message in str(result.exception)


def test_no_file_is_replaced_by_the_page(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "runs.html").write_text("mine")
    assert isinstance(said(folder, "--html", tmp_path / "runs.html").exception, SkipwayError)
    assert (tmp_path / "runs.html").read_text() == "mine"


def test_a_notebook_shows_names_as_text(found: Runs) -> None:
    shown = Runs("<b>", (replace(found[0], name="<script>"),))._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown


@pytest.mark.parametrize("plan", [cross_validate.FOLDS, tune.SEARCH])
def test_folds_are_listed_and_neither_plans_nor_emptied_trials(folder: Path, tmp_path: Path, plan: str) -> None:
    several = tmp_path / "runs" / "several"
    shutil.copytree(folder / "group" / "stopped", several / chosen_training.PLAN)
    (several / chosen_training.PLAN / plan).write_text("{}")
    (several / "trials").mkdir()
    for listed in (tmp_path / "runs", several):
        assert list(skipway.runs(listed)) == []
    shutil.copytree(folder / "better", several / "fold-1")
    assert [row.name for row in skipway.runs(tmp_path / "runs")] == ["several/fold-1"]


def test_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "better", tmp_path / "run")
    with (tmp_path / "run" / "weights.safetensors").open("r+b") as stream:
        os.truncate(stream.fileno(), 1 << 40)  # a hole: reading it would take minutes
    assert skipway.runs(tmp_path)[0].state == "finished"


def test_the_page_sorts_filters_and_is_accessible(browser: Any, folder: Path, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    file = tmp_path / "runs.html"
    (folder / "better" / "report.html").write_text("the report")
    said(folder, "--html", file, "--sort", "name", "--compare")
    for width, scheme in ((1280, "light"), (390, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        problems, requests = [], []
        page.on("pageerror", lambda error, seen=problems: seen.append(error))
        page.on("request", lambda request, seen=requests: seen.append(request.url))
        page.goto(file.as_uri())
        names = "[...document.querySelectorAll('#runs tbody tr:not([hidden]) th')].map(cell => cell.textContent)"
        assert page.evaluate(names) == ["better", "group/stopped", "worse"]
        if width > 1000:
            page.click("thead button:text-is('date')")
            assert page.evaluate(names) == ["group/stopped", "worse", "better"]
            page.click("thead button:text-is('test')")
            assert page.evaluate(names) == ["better", "worse", "group/stopped"], "what has no figure is last"
            page.click("thead button:text-is('test')")
            assert page.evaluate(names) == ["worse", "better", "group/stopped"]
        else:
            page.select_option("#order", label="test")
            assert page.evaluate(names) == ["better", "worse", "group/stopped"]
        page.fill("#filter", "finished wor")
        assert page.evaluate(names) == ["worse"]
        page.fill("#filter", "")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert not axe.Axe().run(page).response["violations"]
        assert requests == [file.as_uri()]
        page.click("text=better >> nth=0")
        assert page.inner_text("body") == "the report"
        assert not problems
        page.close()


def test_settings_name_every_field_of_the_recipe(found: Runs) -> None:
    fields = {"recipe" if name == "name" else name for name in asdict(RECIPE)} - {"model"}
    assert fields <= found[0].settings.keys()
