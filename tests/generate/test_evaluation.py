"""Evaluation of generators: figures recomputed from the images that are generated, the report, and its warnings."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from generated import CLASSES, write_generator
from rich.console import Console
from small import CPU, QUIET

import skipway
from skipway.commands.evaluate import evaluate_after_training
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.data.image_targets import for_generation
from skipway.tasks.base import ReportContext, SplitOutputs
from skipway.tasks.generate import evaluation as evaluation_module
from skipway.tasks.generate.classifier_features import ClassifierFeatures
from skipway.tasks.generate.copies import NearestTraining
from skipway.tasks.generate.diagnosis import diagnose
from skipway.tasks.generate.evaluation import GenerateEvaluation, Trajectories
from skipway.tasks.generate.likelihood import bits_per_dimension
from skipway.trained import TrainedModel
from skipway.training import loop
from skipway.training.recipes import GENERATE_8, QUICK

SHORT = replace(GENERATE_8, channels=1, iterations=55, batch=32)  # 5 epochs of 360 images
COUNT = 40


def digits() -> Dataset:
    dataset = for_generation(open_dataset("digits"))
    test = dataset.test
    assert test is not None
    return replace(dataset, train=dataset.train.take(np.arange(400)), test=test.take(np.arange(COUNT)))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that is still poor, evaluated."""
    folder = tmp_path_factory.mktemp("generator") / "run"
    loop.train(digits(), SHORT, folder, CPU, QUIET)
    evaluate_after_training(folder, digits(), CPU, QUIET)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "digits"
    return loop.train(open_dataset("digits"), replace(QUICK, epochs=4, lr=0.05), folder, CPU, QUIET)


@pytest.fixture(scope="module")
def evaluation(learnt: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> GenerateEvaluation:
    out = tmp_path_factory.mktemp("report")
    found = skipway.evaluate(learnt, digits(), out=out, hardware=CPU, classifier=classifier)
    assert isinstance(found, GenerateEvaluation)
    return found


def test_the_samples_are_those_that_generate_gives(evaluation: GenerateEvaluation, learnt: Path) -> None:
    """Without guidance, seed 0, of the classes of the split's images in their order."""
    names = [evaluation.classes[label] for label in evaluation.labels]
    assert evaluation.labels.tolist() == digits().split("test").labels.tolist()
    made = skipway.generate(learnt, names, n=COUNT, guidance=1.0, hardware=CPU)
    for image, sample in zip(made, evaluation.samples, strict=True):
        assert np.array_equal(image.pixels, sample.transpose(1, 2, 0))


def test_the_class_accuracy_is_that_of_the_classifier_on_the_generated_files(
    evaluation: GenerateEvaluation, learnt: Path, classifier: Path, tmp_path: Path
) -> None:
    names = [evaluation.classes[label] for label in evaluation.labels]
    skipway.generate(learnt, names, n=COUNT, guidance=1.0, out=tmp_path / "made", hardware=CPU)
    files = sorted((tmp_path / "made").iterdir(), key=lambda file: int(file.stem.split("-")[-1]))
    predictions = list(skipway.load(classifier).predictor(CPU).predict(files))
    right = [prediction.label == name for prediction, name in zip(predictions, names, strict=True)]
    assert evaluation.metrics["class_accuracy"] == pytest.approx(np.mean(right))


def test_the_frechet_distances_are_scipys_of_the_same_features(
    evaluation: GenerateEvaluation, classifier: Path
) -> None:
    model = skipway.load(classifier)
    features = ClassifierFeatures(
        "digits", "", model.model, model.predictor(CPU).preprocessing, tuple(model.card.classes), torch.device("cpu")
    )
    real = features.outputs(torch.from_numpy(evaluation.images)).features.astype(np.float64)
    assert evaluation.training is not None
    places = np.linspace(0, len(evaluation.training) - 1, COUNT).round().astype(int)
    for key, images in (
        ("frechet_distance", torch.from_numpy(evaluation.samples)),
        ("frechet_floor", evaluation.training[places]),
    ):
        other = features.outputs(images).features.astype(np.float64)
        ours, theirs = (np.cov(one, rowvar=False) for one in (other, real))
        root = scipy.linalg.sqrtm(ours @ theirs).real
        expected = ((other.mean(0) - real.mean(0)) ** 2).sum() + np.trace(ours + theirs - 2 * root)
        assert evaluation.metrics[key] == pytest.approx(expected, rel=1e-3)


def test_the_held_out_loss_is_that_of_the_last_validation(learnt: Path) -> None:
    """In float32 here and there; on val, which `eval` cuts off as the training did."""
    records = [json.loads(line) for line in (learnt / "metrics.jsonl").read_text().splitlines()]
    found = skipway.evaluate(learnt, digits(), split="val", out=learnt / "reports" / "val", hardware=CPU)
    assert found.metrics["velocity_loss"] == pytest.approx(records[-1]["val_velocity_loss"], rel=0.02)


def test_report_and_card_have_the_figures(evaluation: GenerateEvaluation, learnt: Path) -> None:
    page, plain = (learnt / "report.html").read_text(), json.loads((learnt / "report.json").read_text())
    assert plain["metrics"]["samples"] == COUNT
    assert len(plain["nearest"]) == COUNT
    for heading in ("Samples", "Distance from the images", "Nearest training images", "From noise to image"):
        assert f">{heading}</h2>" in page
    assert page.count("data:image/webp;base64,") > 20
    assert "none of them is FID" in page
    card = skipway.load(learnt).card
    assert card.metrics["test"]["velocity_loss"] == plain["metrics"]["velocity_loss"]
    assert "Fréchet distance" in (learnt / "README.md").read_text()


def test_a_classifier_of_other_classes_is_refused(learnt: Path, tmp_path: Path) -> None:
    dataset = open_dataset("digits")
    letters = replace(dataset, classes=tuple("abcdefghij"), train=dataset.train.take(np.arange(60)), test=None)
    other = loop.train(letters, replace(QUICK, epochs=1, batch=20), tmp_path / "letters", CPU, QUIET)
    with pytest.raises(skipway.SkipwayError, match="does not have the class"):
        skipway.evaluate(learnt, digits(), out=tmp_path / "report", hardware=CPU, classifier=other)


def test_options_for_samples_are_refused_for_other_networks(classifier: Path, learnt: Path, tmp_path: Path) -> None:
    with pytest.raises(skipway.SkipwayError, match="are for generators"):
        skipway.evaluate(classifier, "digits", out=tmp_path, hardware=CPU, samples=20)
    with pytest.raises(skipway.SkipwayError, match="is no classifier"):
        skipway.evaluate(learnt, digits(), out=tmp_path, hardware=CPU, classifier=learnt)
    with pytest.raises(skipway.SkipwayError, match="--samples 3 are too few"):
        skipway.evaluate(learnt, digits(), out=tmp_path, hardware=CPU, samples=3)


def few_pixels() -> Dataset:
    """Four images of 2 x 3 pixels to evaluate on, whose exact likelihoods take six gradients."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 1), dtype=np.uint8)
    split = Split(pixels, np.array([0, 1, 2, 1]), [str(place) for place in range(4)])
    return for_generation(Dataset("pixels", tuple(CLASSES), split, test=split))


def test_the_bits_per_dimension_are_those_of_the_splits_images_and_their_classes(tmp_path: Path) -> None:
    run, out = write_generator(tmp_path / "run", canvas=(2, 3)), tmp_path / "report"
    console = Console(record=True, file=io.StringIO())
    found = skipway.evaluate(run, few_pixels(), out=out, hardware=CPU, console=console, likelihood=3)
    split = few_pixels().split("test").take(np.array([0, 2, 3]))  # three of four, evenly spread
    model = TrainedModel.load(run, CPU)
    sampler = model.task.sampler(model.net, model.preprocessing, torch.device("cpu"), 3)
    pixels = torch.from_numpy(np.asarray(split.items)).permute(0, 3, 1, 2)
    bits = bits_per_dimension(sampler, pixels, split.labels.tolist())
    low, high = bits.interval
    expected = {"bits_per_dimension": bits.mean, "bits_low": low, "bits_high": high, "bits_images": 3, "bits_probes": 0}
    plain = json.loads((out / "report.json").read_text())
    for name, value in expected.items():
        assert found.metrics[name] == pytest.approx(value) == plain["metrics"][name]
    assert plain["command"].endswith("--likelihood 3")
    page = (out / "report.html").read_text()
    assert ">Likelihood</h2>" in page and "uniform dequantisation" in page
    said = console.export_text()
    assert "72 evaluations of the network and 216 gradients" in said
    assert said.index("216 gradients") < said.index("bits per dimension")


def test_likelihoods_that_would_take_too_long_are_refused_with_how_many_would_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_generator(tmp_path / "run", canvas=(2, 3))
    monkeypatch.setattr(evaluation_module, "LONGEST", 1e-9)
    with pytest.raises(skipway.SkipwayError, match=r"--likelihood 3 takes about .* min: give at most 1 images"):
        skipway.evaluate(run, few_pixels(), out=tmp_path / "report", hardware=CPU, likelihood=3)
    with pytest.raises(skipway.SkipwayError, match="--likelihood -1: give a number of images"):
        skipway.evaluate(run, few_pixels(), out=tmp_path / "report", hardware=CPU, likelihood=-1)


def evaluated(**metrics: float) -> GenerateEvaluation:
    split = digits().split("test")
    scored = SplitOutputs("digits", "test", (), split, "", True, (), (torch.zeros(COUNT),), 0.0)
    empty = np.zeros((1, 1, 8, 8), np.uint8)
    near = NearestTraining(np.zeros((1, 2), int), np.ones((1, 2)), np.zeros(1, bool))
    return GenerateEvaluation(
        scored, metrics, empty, np.zeros(1, int), empty, empty, near, None, Trajectories((1.0,), empty[None])
    )


GOOD = {
    "copies": 0.01,
    "image_copies": 0.01,
    "velocity_loss": 0.2,
    "train_velocity_loss": 0.19,
    "frechet_distance": 2.0,
    "frechet_floor": 1.0,
    "class_accuracy": 0.98,
    "image_class_accuracy": 0.99,
}


@pytest.mark.parametrize(
    ("changed", "title"),
    [
        ({}, None),
        ({"copies": 0.3}, "the network repeats its training images"),
        ({"velocity_loss": 0.4}, "the network remembers its training images"),
        ({"frechet_distance": 30.0}, "samples differ much from the images"),
        ({"class_accuracy": 0.5}, "samples lose their class"),
    ],
)
def test_each_fault_of_a_generator_is_named(changed: dict, title: str | None, learnt: Path) -> None:
    model = skipway.load(learnt)
    card = replace(model.card, data=model.card.data | {"counts": {"train": 50_000}})
    context = ReportContext(card, model.predictor, None, [], "center")  # type: ignore[arg-type]
    titles = [finding.title for finding in diagnose(evaluated(**GOOD | changed), context)]
    assert titles == ([title] if title else [])


def test_a_small_set_is_warned_of(learnt: Path) -> None:
    context = ReportContext(skipway.load(learnt).card, None, None, [], "center")  # type: ignore[arg-type]
    assert [finding.title for finding in diagnose(evaluated(**GOOD), context)] == ["few images to learn from"]
