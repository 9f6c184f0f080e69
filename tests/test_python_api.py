"""The Python API as people type it: what a training returns, what can be given to it, and what is refused; and that its
verbs do what those of the command line do."""

import json
import os
import re
import shutil
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import skipway
from skipway import bundle, cli
from skipway.data.dataset import Dataset
from skipway.deploy.engines import selection
from skipway.hardware import Hardware, decide
from skipway.tasks.classify.prediction import ClassPrediction
from skipway.training.recipe_keywords import RecipeFields

STRANGE = "<b>&\"'"


@pytest.fixture(scope="module")
def cpu() -> Hardware:
    return decide("cpu", workers=1)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Few of the digits, and a name that HTML must escape."""
    dataset = skipway.open_dataset("digits")
    assert dataset.test is not None
    few = np.arange(96)
    return replace(dataset, name=STRANGE, train=dataset.train.take(few), test=dataset.test.take(few[:20]))


@pytest.fixture(scope="module")
def run(digits: Dataset, cpu: Hardware, tmp_path_factory: pytest.TempPathFactory) -> skipway.Run:
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
        ({"bad": "skp"}, "'skp' is not one of error, skip, quarantine"),
        ({"data": ["a", "b"]}, "data must be a name, a path or what skipway.open_dataset returns, not of type list"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_in_one_line_before_data_are_opened(given: dict, words: str) -> None:
    assert words in line_of(lambda: skipway.train(**{"data": "nowhere/at/all", **given}))


def test_numbers_of_numpy_and_lists_are_taken(digits: Dataset, cpu: Hardware, tmp_path: Path) -> None:
    options = {"epochs": np.int64(1), "lr": np.float32(0.5), "flip": np.bool_(True), "milestones": [0.25, 0.5]}
    card = skipway.train(digits, "quick", tmp_path / "run", cpu, model="resnet20", batch=32, **options).card  # type: ignore
    found = {name: card.recipe[name] for name in options}
    assert found == {"epochs": 1, "lr": 0.5, "flip": True, "milestones": [0.25, 0.5]}


# ---------------------------------------------------------------------------------------------------------------------
# Run


def test_a_run_is_given_wherever_a_path_is(run: skipway.Run, cpu: Hardware, digits: Dataset, tmp_path: Path) -> None:
    assert os.fspath(run) == str(run) == str(run.path)
    assert skipway.load(run).card == run.card == bundle.read_card(run.path)
    answer = skipway.Predictor(run, cpu).predict(digits.train.items[0])
    assert answer == run.predictor(cpu).predict(digits.train.items[0])
    found = skipway.evaluate(run, digits, out=tmp_path / "out", hardware=cpu)
    assert (tmp_path / "out" / "report.html").is_file()
    assert found.metrics["top1"] == run.metrics["top1"]
    twin = skipway.build("resnet20", channels=1, pretrained=run)
    assert all(torch.equal(value, run.model.state_dict()[name]) for name, value in twin.state_dict().items())


def test_a_run_holds_what_its_folder_does(run: skipway.Run, digits: Dataset) -> None:
    report = json.loads((run.path / "report.json").read_text())
    assert run.split == report["split"] == "test"
    assert json.loads(json.dumps(run.metrics)) == report["metrics"]
    assert [record["epoch"] for record in run.history] == [1, 2]
    assert run.report.read_text().startswith("<!doctype html>")
    assert not run.model.training
    images = torch.from_numpy(digits.test.items[:5]).permute(0, 3, 1, 2)  # type: ignore[union-attr,index]
    with torch.inference_mode():
        assert run.model(images.float()).shape == (5, 10)


def test_a_run_is_evaluated_on_other_data(run: skipway.Run, digits: Dataset, cpu: Hardware) -> None:
    other = replace(digits, name="others", train=digits.train.take(np.arange(7)), val=None, test=None)
    found = run.evaluate(other, hardware=cpu)
    assert (found.scored.data, found.scored.split, found.metrics["n"]) == ("others", "all", 7)
    assert (run.path / "reports" / "others-all" / "report.html").is_file()


def test_representations_are_short(run: skipway.Run, digits: Dataset, cpu: Hardware) -> None:
    figure = f"top-1 {100 * run.metrics['top1']:.2f} % (95 % interval"
    assert f"resnet20 on {STRANGE}, test {figure}" in repr(run)
    evaluation = run.evaluate(digits, hardware=cpu)
    assert f"{STRANGE}, test: {figure}" in repr(evaluation)
    answer = ClassPrediction("a.png", classes=(("cat", 0.75), ("dog", 0.25)))
    assert isinstance(answer, skipway.Prediction)
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


def test_a_bundle_of_an_earlier_version_says_its_figure_too(run: skipway.Run, tmp_path: Path) -> None:
    older = shutil.copytree(run, tmp_path / "older")
    bundle.seal(older, replace(run.card, summaries={}, head={}))
    assert repr(skipway.load(older)) == repr(run).replace(repr(str(run)), repr(str(older)))


def test_a_changed_byte_is_refused_when_a_run_is_loaded(run: skipway.Run, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(weights)
    assert "was changed" in line_of(lambda: skipway.load(copy))


def test_what_cannot_be_resumed_is_refused_in_one_line(run: skipway.Run) -> None:
    assert "holds no run to resume" in line_of(lambda: skipway.resume(run.path.parent))
    assert "unknown argument 'epoch'" in line_of(lambda: skipway.resume(run, epoch=3))  # type: ignore[call-arg]


# ---------------------------------------------------------------------------------------------------------------------
# The other verbs, each beside the command line's


def typed(*words: object, code: int = 0) -> str:
    """What the command line prints on standard output."""
    answer = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert answer.exit_code == code, answer.output
    return answer.stdout


def through_json(value: Any) -> Any:
    """`value` as whoever reads it as JSON gets it."""
    return json.loads(json.dumps(value))


@pytest.fixture(scope="module")
def photos(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits in class folders, and in one of these a file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for place, (pixels, label) in enumerate(zip(digits.train.items[:3], digits.train.labels, strict=False)):
        file = folder / digits.classes[label] / f"{place}.png"
        file.parent.mkdir()
        Image.fromarray(np.asarray(pixels)[..., 0]).save(file)
    (folder / digits.classes[digits.train.labels[0]] / "bad.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def other(run: skipway.Run, tmp_path_factory: pytest.TempPathFactory) -> skipway.Run:
    """`run` with other weights in its head."""
    folder = shutil.copytree(run, tmp_path_factory.mktemp("runs") / "other")
    weights = bundle.read_weights(folder)
    weights["fc.weight"] = weights["fc.weight"] + 0.2 * torch.randn(weights["fc.weight"].shape)
    bundle.write(folder, weights, run.card)
    return skipway.load(folder)


def test_predict_answers_as_the_command_line_does(run: skipway.Run, photos: Path, cpu: Hardware) -> None:
    lines = typed("predict", run, photos, "--json", "--top", 3, "--device", "cpu", code=1).splitlines()
    answers = list(skipway.predict(run, photos, top=3, hardware=cpu))
    assert len(answers) == len(lines) == 4
    for answer, line in zip(answers, map(json.loads, lines), strict=True):
        assert (answer.name, answer.error) == (line["image"], line.get("error", ""))
        assert [{"class": name, "probability": share} for name, share in answer.classes] == line["classes"]
    (good, *_) = (answer for answer in answers if not answer.error)
    assert len(good.classes) == 3
    assert skipway.predict(run, good.name, top=3, hardware=cpu) == good


def test_check_finds_what_the_command_line_does(photos: Path) -> None:
    printed = json.loads(typed("check", photos, "--json", code=1))
    found = skipway.check(photos)
    assert [fault.category for fault in found.of("fault")] == ["not an image"]
    assert through_json(asdict(found)) | {"reused": False} == printed | {"reused": False}
    assert skipway.check(str(photos), size=64).of("warning") != found.of("warning")
    assert "'quarantin' is not one of" in line_of(lambda: skipway.check(photos, bad="quarantin"))  # type: ignore[arg-type]


def test_explain_draws_what_the_command_line_does(
    run: skipway.Run, photos: Path, cpu: Hardware, tmp_path: Path
) -> None:
    files = sorted(photos.rglob("*.png"))
    given = ("--method", "grad-cam", "--class", "3", "--device", "cpu", "--json")
    lines = typed("explain", run, *files, *given, "--out", tmp_path / "typed", code=1).splitlines()
    found = skipway.explain(run, files, label="3", method="grad-cam", out=tmp_path / "called", hardware=cpu)
    for (path, file, one), line in zip(found, map(json.loads, lines), strict=True):
        assert str(path) == line["image"]
        if isinstance(one, skipway.SkipwayError):
            assert str(one) == line["error"]
            assert not file.exists()
        else:
            assert list(one.heat) == ["grad-cam"]
            assert (one.label, one.probability, one.predicted) == ("3", line["probability"], line["predicted"])
            assert file.read_bytes() == Path(line["file"]).read_bytes()
    assert sum(file.exists() for _, file, _ in found) == 3
    ((_, file, _),) = skipway.explain(run, files[0], method="grad-cam", out=tmp_path / "one", hardware=cpu)
    assert [file] == list((tmp_path / "one").iterdir())
    assert "did you mean 'grad-cam'?" in line_of(lambda: skipway.explain(run, files, method="gradcam"))


def test_export_writes_what_the_command_line_does(run: skipway.Run, photos: Path, tmp_path: Path) -> None:
    image = next(photos.rglob("0.png"))
    options = ("--format", "torch", "--out", tmp_path / "typed", "--images", image)
    printed = json.loads(typed("export", run, *options, "--json"))
    said: list[str] = []
    done = skipway.export(run, "torch", tmp_path / "called", images=image, notify=said.append)
    assert (done.folder, printed["folder"]) == (tmp_path / "called", str(tmp_path / "typed"))
    assert printed == {**through_json(done.evidence), "folder": printed["folder"]}
    assert printed["images"] == "1 of the images given"
    for name in ("card.json", "evidence.json", "README.md"):
        assert (tmp_path / "called" / name).read_bytes() == (tmp_path / "typed" / name).read_bytes()
    assert "called exists" in line_of(lambda: skipway.export(run, "torch", tmp_path / "called"))
    assert "give --format openvino" in line_of(lambda: skipway.export(run, "torch", tmp_path / "int8", int8=True))


def test_benchmark_measures_what_the_command_line_does(
    run: skipway.Run, cpu: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: kind for name, kind in selection.ENGINES.items() if name in ("eager", "folded", "int8")}
    monkeypatch.setattr(selection, "ENGINES", few)
    said: list[str] = []
    found = through_json(asdict(skipway.benchmark(run, 0, cpu, said.append)))
    printed = json.loads(typed("bench", run, "--seconds", 0, "--device", "cpu", "--json"))
    assert len(found["rows"]) == 2 * len(few)
    assert len(said) == 2 + 2 * len(few)
    for one in (found, printed):
        for row in one["rows"]:  # what a clock said
            assert (row["images_per_s"] is None) == (row["milliseconds"] is None) == (row["verdict"] == "missing")
            del row["images_per_s"], row["milliseconds"]
    assert found == printed


def test_compare_gives_the_rows_of_the_command_line() -> None:
    names = ["resnet20", "vgg11"]
    printed = json.loads(typed("compare", *names, "--no-measure", "--json"))
    assert through_json(skipway.compare(names)) == printed["networks"]
    assert "unknown model 'resnet2O'" in line_of(lambda: skipway.compare(["resnet2O"]))


def test_runs_are_evaluated_and_averaged_as_on_the_command_line(
    run: skipway.Run, other: skipway.Run, cpu: Hardware, tmp_path: Path
) -> None:
    options = ("--json", "--device", "cpu", "--out")
    for number, (runs, words) in enumerate(
        ((run, (run, "digits")), ([run, other], (run, other, "--on", "digits", "--ensemble")))
    ):
        printed = json.loads(typed("eval", *words, *options, tmp_path / f"typed-{number}"))
        found = skipway.evaluate(runs, "digits", out=tmp_path / f"called-{number}", hardware=cpu)
        assert printed["metrics"] == through_json(found.metrics)
        assert printed["per_class"] == through_json(found.per_class)
        reports = [
            json.loads((tmp_path / f"{how}-{number}" / "report.json").read_text()) for how in ("typed", "called")
        ]
        for key in ("command", "network", "predictions", "warnings"):
            assert reports[0][key] == reports[1][key], key
    assert "no run to evaluate" in line_of(lambda: skipway.evaluate([], "digits"))


def test_runs_are_compared_as_on_the_command_line(
    run: skipway.Run, other: skipway.Run, cpu: Hardware, tmp_path: Path
) -> None:
    words = (run, other, "--on", "digits", "--json", "--device", "cpu")
    printed = json.loads(typed("eval", *words, "--out", tmp_path / "typed"))
    found = skipway.compare_runs([run, other], "digits", out=tmp_path / "called", hardware=cpu)
    assert through_json(found.to_json()) == printed
    (against,) = printed["against_first"]
    assert against["only_first"] + against["only_second"] > 0, "the two must differ for the test to say anything"
    for name in ("comparison.json", "comparison.html"):
        assert (tmp_path / "called" / name).read_bytes() == (tmp_path / "typed" / name).read_bytes()
    assert "at least two runs are compared" in line_of(lambda: skipway.compare_runs([run], "digits"))


# ---------------------------------------------------------------------------------------------------------------------
# build


def test_weights_are_named_as_on_the_command_line() -> None:
    refused = line_of(lambda: skipway.build("resnet18", pretrained=True))  # type: ignore
    assert "pretrained must be a string or path, not True" in refused
    assert "nothing.at-all" in line_of(lambda: skipway.build("resnet18", pretrained="nothing.at-all"))
