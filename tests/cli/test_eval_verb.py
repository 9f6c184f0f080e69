"""`skipway eval`: one run, several beside each other, several averaged, and what it answers to wrong input."""

import html
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typed import refused

from skipway import bundle
from skipway.commands import evaluate, loaded_run, train
from skipway.data import open_dataset
from skipway.errors import SkipwayError
from skipway.hardware import decide
from skipway.tasks.classify.significance import paired
from skipway.training.recipes import QUICK


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two digits networks, `a` of two epochs and `b` of three and another seed."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, epochs in (("a", 0, 2), ("b", 1, 3)):
        train.train("digits", replace(QUICK, seed=seed, epochs=epochs), folder / name, decide("cpu"))
    return folder


@pytest.fixture
def here(runs: Path) -> Path:
    """Commands are run in the folder of the runs."""
    return runs


def right_in(report: Path) -> np.ndarray:
    return np.array([p["label"] == p["predicted"] for p in json.loads(report.read_text())["predictions"]])


def test_a_bundle_is_judged_to_the_digit_as_at_the_end_of_its_training(skipway, runs: Path) -> None:
    code, out, err = skipway("eval", "a", "--json", "--out", "again")
    assert code == 0
    of_training, again = (json.loads((runs / name / "report.json").read_text()) for name in ("a", "again"))
    for key in ("split", "n", "metrics", "per_class", "confusion", "calibration", "predictions"):
        assert of_training[key] == again[key], key
    assert json.loads(out)["metrics"] == of_training["metrics"]
    assert json.loads(json.dumps(bundle.read_card(runs / "a").metrics["test"])) == of_training["metrics"]
    card = bundle.read_card(runs / "b")
    assert card.calibration is not None
    assert (card.calibration["split"], card.calibration["n"]) == ("val", 142)
    assert f"accuracy {100 * of_training['metrics']['top1']:.2f} %" in err


def test_a_network_that_learnt_nothing_says_so_on_the_console_and_in_the_report(skipway, runs: Path) -> None:
    """One whose classifier was emptied, so that it answers 4 whatever it sees."""
    shutil.copytree(runs / "b", runs / "empty")
    weights = bundle.read_weights(runs / "empty")
    weights["fc.weight"].zero_()
    weights["fc.bias"].copy_(torch.eye(10)[4])
    bundle.write(runs / "empty", weights, bundle.read_card(runs / "b"))
    code, out, _ = skipway("eval", "empty")
    assert code == 0
    warnings = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert warnings[0].startswith("warning: The network is no better than always predicting '")
    assert "it predicts '4' for every image. Likely cause: " in warnings[0]
    assert "steps are few: train longer" in warnings[0]
    assert warnings[1].startswith("warning: 9 of 10 classes are never predicted: ")
    report = Path(out.splitlines()[-1].removeprefix("report "))
    kept = json.loads((runs / report).with_suffix(".json").read_text())["warnings"]
    assert [warning["severity"] for warning in kept] == ["error", "error"]


def test_the_report_says_how_to_train_and_judge_again(runs: Path) -> None:
    found = json.loads((runs / "b" / "report.json").read_text())
    assert found["training"] == "skipway train digits --recipe quick --seed 1 --epochs 3"
    assert shlex.split(found["command"]) == ["skipway", "eval", str(runs / "b"), "digits"]


def test_two_runs_are_compared_on_the_images_that_one_alone_got_right(skipway, runs: Path) -> None:
    code, out, _ = skipway("eval", "a", "b", "--on", "digits", "--json", "--out", "both")
    assert code == 0
    (other,) = json.loads(out)["against_first"]
    counts = paired(*(right_in(runs / name / "report.json") for name in ("a", "b")))
    assert [other[key] for key in ("both", "only_first", "only_second", "neither")] == list(vars(counts).values())
    assert other["p"] == counts.p
    assert json.loads((runs / "both" / "comparison.json").read_text()) == json.loads(out)
    assert other["sentence"] in html.unescape((runs / "both" / "comparison.html").read_text())
    _, out, _ = skipway("eval", "a", "b", "--on", "digits")
    assert other["sentence"] in out
    assert "comparison a/reports/digits-test-comparison/comparison.html" in out


def test_more_than_two_runs_are_each_tested_against_the_first(skipway) -> None:
    _, out, _ = skipway("eval", "a", "b", "a", "--on", "digits", "--json", "--out", "three")
    found = json.loads(out)
    assert found["holm"]
    assert [row["run"] for row in found["against_first"]] == ["b", "a"]
    assert found["against_first"][1]["p"] == 1
    assert found["against_first"][0]["p"] == min(1, 2 * found["against_first"][0]["p_unadjusted"])


def test_an_ensemble_is_the_mean_of_calibrated_probabilities(skipway, runs: Path) -> None:
    code, out, _ = skipway("eval", "a", "b", "--on", "digits", "--ensemble", "--json", "--out", "mean")
    assert code == 0
    dataset = open_dataset("digits")
    probabilities = []
    for name in ("a", "b"):
        run = loaded_run.open_run(runs / name, decide("cpu"))
        (scores,) = run.scorer(dataset.split("test"))
        probabilities.append((scores.double() / run.card.temperature).softmax(1))
    mean = torch.stack(probabilities).mean(0)
    report = json.loads((runs / "mean" / "report.json").read_text())
    assert [p["probability"] for p in report["predictions"]] == pytest.approx(mean.amax(1).tolist(), abs=1e-5)
    assert json.loads(out)["metrics"]["top1"] == np.mean(mean.argmax(1).numpy() == dataset.split("test").labels)
    assert report["network"]["name"] == "resnet20 + resnet20"
    assert report["command"] == "skipway eval a b --on digits --ensemble"


def test_a_protocol_is_named_in_the_report_and_has_no_temperature(skipway, runs: Path) -> None:
    code, _, _ = skipway("eval", "a", "--protocol", "flip", "--out", "mirrored")
    assert code == 0
    report = json.loads((runs / "mirrored" / "report.json").read_text())
    assert (report["protocol"], report["calibration"]["fitted"]) == ("flip", None)
    assert report["command"] == "skipway eval a digits --protocol flip"
    run = loaded_run.open_run("a", decide("cpu"), "flip")
    (scores,) = run.scorer(open_dataset("digits").split("test"))
    assert [p["probability"] for p in report["predictions"]] == scores.softmax(1).amax(1).tolist()


def test_what_cannot_be_told_apart_or_compared_is_refused(skipway, runs: Path) -> None:
    refused(skipway("eval", "a", "b"), "several runs need --on DATA")
    refused(skipway("eval", "a", "b", "digits"), "several runs need --on DATA")
    refused(skipway("eval", "a", "--on", "digits", "--ensemble"), "averages at least two runs")
    refused(skipway("eval", "a", "--ensemble"), "several runs need --on DATA")
    refused(skipway("eval", "a", "--protocol", "tencrop"), "did you mean 'ten-crop'")
    refused(skipway("eval", "a", "--protocol", "ten-crop"), "ten crops need a margin")
    refused(skipway("eval", "a", "nowhere", "--on", "digits"), "nowhere does not exist")
    (runs / "taken").write_text("mine")
    refused(skipway("eval", "a", "--out", "taken"), "taken cannot be written (File exists): choose another --out")
    refused(skipway("eval", "a", "b", "--on", "digits", "--out", "taken/x"), "cannot be written (Not a directory)")
    refused(skipway("eval", "a", "b", "--on", "digits", "--split", "val"), "have different images in val")
    adopted = replace(bundle.read_card(runs / "a"), data={"name": "somewhere", "fingerprint": ""})
    shutil.copytree(runs / "a", runs / "adopted")
    bundle.seal(runs / "adopted", adopted)
    refused(skipway("eval", "adopted"), "name the images to evaluate them on")


def test_runs_of_other_classes_are_refused_by_name(skipway, runs: Path) -> None:
    shutil.copytree(runs / "a", runs / "renamed")
    card = bundle.read_card(runs / "a")
    bundle.seal(runs / "renamed", replace(card, classes=[*card.classes[:9], "nine"]))
    refused(skipway("eval", "a", "renamed", "--on", "digits", "--ensemble"), "a and renamed differ in task, classes")
    refused(skipway("eval", "a", "renamed", "--on", "digits"), "classes that the network does not have: 9")


def test_runs_that_learned_from_each_others_val_are_not_averaged_on_it(skipway, runs: Path) -> None:
    dataset = replace(open_dataset("digits"), test=None)
    opened = []
    for name in ("a", "b"):
        run = loaded_run.open_run(runs / name, decide("cpu"))
        opened.append(replace(run, card=replace(run.card, data={**run.card.data, "fingerprint": dataset.fingerprint})))
    with pytest.raises(SkipwayError, match="each run cut its own val"):
        evaluate.average_runs(opened, dataset, dataset.fingerprint, None)
