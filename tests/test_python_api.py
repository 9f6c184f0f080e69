"""The Python API as people type it: what a training returns, what can be given to it, and what is refused."""

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch

import skipway
from skipway import bundle
from skipway.data.source import Source
from skipway.hardware import Hardware, decide
from skipway.training.keywords import RecipeFields

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook" / "first_training.ipynb"
STRANGE = "<b>&\"'"


@pytest.fixture(scope="module")
def cpu() -> Hardware:
    return decide("cpu", workers=1)


@pytest.fixture(scope="module")
def digits() -> Source:
    """Few of the digits, and a name that HTML must escape."""
    source = skipway.open_source("digits")
    assert source.test is not None
    few = np.arange(96)
    return replace(source, name=STRANGE, train=source.train.take(few), test=source.test.take(few[:20]))


@pytest.fixture(scope="module")
def run(digits: Source, cpu: Hardware, tmp_path_factory: pytest.TempPathFactory) -> skipway.Run:
    out = tmp_path_factory.mktemp("runs") / "digits"
    return skipway.train(digits, "quick", out, cpu, epochs=2, model="resnet20", batch=8, lr=1)


def line_of(call) -> str:
    with pytest.raises(skipway.SkipwayError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# train


def test_keywords_are_fields_of_the_recipe(run: skipway.Run) -> None:
    recipe = json.loads((run.path / "card.json").read_text())["recipe"]
    assert (recipe["name"], recipe["epochs"], recipe["model"], recipe["batch"]) == ("quick", 2, "resnet20", 8)
    assert (recipe["lr"], type(recipe["lr"])) == (1.0, float)
    assert recipe["weight_decay"] == skipway.find_recipe("quick").weight_decay


def test_editors_are_told_every_field_of_a_recipe_in_its_type() -> None:
    fields = get_type_hints(skipway.Recipe)
    del fields["name"]
    assert get_type_hints(RecipeFields) == fields


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epoch": 5}, "unknown argument 'epoch': did you mean 'epochs'?"),
        ({"output": "x"}, "unknown argument 'output': did you mean 'out'?"),
        ({"name": "mine"}, "unknown argument 'name'"),
        ({"device": "cpu"}, "device is a choice of hardware: give hardware=skipway.decide(device=...)"),
        ({"epochs": "5"}, "epochs must be a whole number, not '5'"),
        ({"epochs": 5.0}, "epochs must be a whole number, not 5.0"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"lr": None}, "lr must be a number, not None"),
        ({"flip": "no"}, "flip must be True or False, not 'no'"),
        ({"milestones": 0.5}, "milestones must be a tuple of numbers, not 0.5"),
        ({"background": "white"}, "background must be a tuple of whole numbers, not 'white'"),
        ({"pretrained": np.zeros((9, 9))}, "pretrained must be text, not array("),
        ({"schedule": "cosin"}, "did you mean 'cosine'?"),
        ({"model": "resnet19"}, "unknown model 'resnet19'"),
        ({"recipe": "finetun"}, "did you mean 'finetune'?"),
        ({"recipe": 3}, "recipe must be a name or a skipway.Recipe, not of type int"),
        ({"recipe": skipway.Recipe("mine", epochs="5")}, "epochs must be a whole number, not '5'"),  # type: ignore
        ({"hardware": "cpu"}, "hardware must be what skipway.decide returns"),
        ({"bad": "skp"}, "'skp' is none of error, skip, quarantine"),
        ({"data": ["a", "b"]}, "data must be a name, a path or what skipway.open_source returns, not of type list"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_in_one_line_before_data_are_opened(given: dict, words: str) -> None:
    assert words in line_of(lambda: skipway.train(**{"data": "nowhere/at/all", **given}))


def test_numbers_of_numpy_and_lists_are_taken(digits: Source, cpu: Hardware, tmp_path: Path) -> None:
    options = {"epochs": np.int64(1), "lr": np.float32(0.5), "flip": np.bool_(True), "milestones": [0.25, 0.5]}
    card = skipway.train(digits, "quick", tmp_path / "run", cpu, model="resnet20", batch=32, **options).card  # type: ignore
    found = {name: card.recipe[name] for name in options}
    assert found == {"epochs": 1, "lr": 0.5, "flip": True, "milestones": [0.25, 0.5]}


# ---------------------------------------------------------------------------------------------------------------------
# Run


def test_a_run_is_given_wherever_a_path_is(run: skipway.Run, cpu: Hardware, digits: Source, tmp_path: Path) -> None:
    assert os.fspath(run) == str(run) == str(run.path)
    assert skipway.load(run).card == run.card == bundle.read_card(run.path)
    answer = skipway.Predictor(run, cpu).predict(digits.train.items[0])
    assert answer == run.predictor(cpu).predict(digits.train.items[0])
    found = skipway.evaluate(run, digits, out=tmp_path / "out", hardware=cpu)
    assert (tmp_path / "out" / "report.html").is_file()
    assert found.metrics["top1"] == run.metrics["top1"]
    twin = skipway.build("resnet20", channels=1, pretrained=run)
    assert all(torch.equal(value, run.model.state_dict()[name]) for name, value in twin.state_dict().items())


def test_a_run_holds_what_its_folder_does(run: skipway.Run, digits: Source) -> None:
    report = json.loads((run.path / "report.json").read_text())
    assert run.split == report["split"] == "test"
    assert json.loads(json.dumps(run.metrics)) == report["metrics"]
    assert [record["epoch"] for record in run.history] == [1, 2]
    assert run.report.read_text().startswith("<!doctype html>")
    assert not run.model.training
    images = torch.from_numpy(digits.test.items[:5]).permute(0, 3, 1, 2)  # type: ignore[union-attr,index]
    with torch.inference_mode():
        assert run.model(images.float()).shape == (5, 10)


def test_a_run_is_evaluated_on_other_data(run: skipway.Run, digits: Source, cpu: Hardware) -> None:
    other = replace(digits, name="others", train=digits.train.take(np.arange(7)), val=None, test=None)
    found = run.evaluate(other, hardware=cpu)
    assert (found.scored.data, found.scored.split, found.metrics["n"]) == ("others", "all", 7)
    assert (run.path / "reports" / "others-all" / "report.html").is_file()


def test_representations_are_short(run: skipway.Run, digits: Source, cpu: Hardware) -> None:
    figure = f"top-1 {100 * run.metrics['top1']:.2f} % (95 % interval"
    assert f"resnet20 on {STRANGE}, test {figure}" in repr(run)
    evaluation = run.evaluate(digits, hardware=cpu)
    assert f"{STRANGE}, test: {figure}" in repr(evaluation)
    answer = skipway.Prediction("a.png", (("cat", 0.75), ("dog", 0.25)))
    assert repr(answer) == "Prediction('a.png', 'cat', 0.7500)"
    for text in (repr(run), repr(evaluation)):
        assert len(text.splitlines()) == 1
        assert len(text) < 250 + len(str(run))


class Reader(HTMLParser):
    """What a browser would show of a page: its text, its elements and its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.elements, self.links = "", set(), []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_card_for_notebooks_says_what_counts_and_escapes_it(
    run: skipway.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path.parent)
    page = skipway.load("digits")._repr_html_()
    assert page is not None
    shown = Reader(page)
    low, high = run.metrics["top1_interval"]
    for words in ("resnet20", STRANGE, f"{100 * run.metrics['top1']:.2f}", f"{100 * low:.2f} to {100 * high:.2f}"):
        assert words in shown.text
    assert shown.links == ["digits/report.html"]
    assert page.count("<b>") == 1
    for colour in re.findall(r"(?<![-\w])(?:color|background):([^;\"]+)", page):
        assert colour in ("inherit", "none"), "a colour of its own is unreadable in a light or in a dark notebook"


def test_an_unfinished_folder_is_named_as_that_and_shows_no_card(tmp_path: Path) -> None:
    unfinished = skipway.Run(tmp_path)
    assert repr(unfinished) == f"Run({str(tmp_path)!r}, no bundle)"
    assert unfinished._repr_html_() is None
    assert "holds no bundle" in line_of(lambda: skipway.load(tmp_path))


def test_a_changed_byte_is_refused_when_a_run_is_loaded(run: skipway.Run, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(run, tmp_path / "copy")
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(weights)
    assert "was changed" in line_of(lambda: skipway.load(copy))


def test_what_cannot_be_resumed_is_refused_in_one_line(run: skipway.Run) -> None:
    assert "holds no run to resume" in line_of(lambda: skipway.resume(run.path.parent))
    assert "unknown argument 'epoch'" in line_of(lambda: skipway.resume(run, epoch=3))  # type: ignore[call-arg]


# ---------------------------------------------------------------------------------------------------------------------
# build, and the notebook


def test_weights_are_named_as_on_the_command_line() -> None:
    assert "pretrained must name weights, not True" in line_of(lambda: skipway.build("resnet18", pretrained=True))  # type: ignore
    assert "nothing.at-all" in line_of(lambda: skipway.build("resnet18", pretrained="nothing.at-all"))


def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 5
    sources = ["".join(cell["source"]) for cell in cells]
    assert sum("epochs=10" in source for source in sources) == 1
    for source in sources:
        exec(source.replace("epochs=10", "epochs=1"), names)
    assert names["run"].report.is_file()


def test_the_outputs_of_the_notebook_are_kept_and_name_no_place_of_a_machine() -> None:
    text = json.dumps([cell.get("outputs", []) for cell in json.loads(NOTEBOOK.read_text())["cells"]])
    assert "top-1 accuracy on test" in text
    assert not re.search(r"/(home|root|tmp|work|Users|mnt)\b", text)
