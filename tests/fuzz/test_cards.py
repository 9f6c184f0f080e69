"""Cards of bundles: whatever one says, loading it is refused in one line, or it can be used and shown."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from served import write_bundle

from skipway import bundle
from skipway.bundle.card import PREPROCESSING, READING
from skipway.data.preprocess import Preprocessing
from skipway.data.read_options import ReadOptions
from skipway.errors import BundleError
from skipway.json_text import is_finite
from skipway.trained import TrainedModel
from tests.fuzz.changes import as_json, changed, damaged, refused_in_one_line

FULL: dict[str, Any] = {  # sections that the bundle of the tests leaves out
    "data": {
        "name": "fruit",
        "fingerprint": "ab",
        "counts": {"train": 9, "val": 3},
        "reading": dataclasses.asdict(ReadOptions()),
        "left_out": [["a.png", "it is cut short"]],
    },
    "recipe": {"name": "quick", "epochs": 0, "val": 0.1, "seed": 0, "pretrained": "", "milestones": [0.5]},
    "head": {"name": "linear", "outputs": 4},
    "summaries": {"val": "top-1 25.00 %"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bundle(tmp_path_factory.mktemp("fuzz") / "run")
    outputs = len(values(folder)["classes"])
    place(folder, as_json(values(folder) | FULL | {"head": {"name": "linear", "outputs": outputs}}))
    assert load(folder) is not None
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> dict[str, Any]:
    return values(folder)


def values(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text())


def place(folder: Path, content: bytes) -> None:
    """Put `content` in the card's place, with the checksums of somebody who changes it on purpose."""
    (folder / "card.json").write_bytes(content)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in bundle.FILES}
    (folder / bundle.SUMS).write_bytes(bundle.checksums(digests))


def load(folder: Path) -> TrainedModel | None:
    return refused_in_one_line(lambda: TrainedModel.load(folder))


def use(model: TrainedModel) -> None:
    """What predicting, showing and serving do with a bundle that is loaded."""
    pixels = np.zeros((20, 24, model.preprocessing.channels), np.uint8)
    image = model.preprocessing.open(pixels, "a")
    with torch.no_grad():
        scores = model.net(model.preprocessing.normalised(image[None]))
    prediction = model.task.predict("a", (scores[0],), (20, 24), model.card.temperature, 3)
    assert is_finite(model.task.presenter.row(prediction))
    model.task.presenter.table_row(prediction)
    for metrics in model.card.metrics.values():
        model.task.presenter.figure_of(metrics)
        model.task.summary(metrics)
    json.dumps(dataclasses.asdict(model.card), allow_nan=False, ensure_ascii=False).encode()
    bundle.readme(model.card)
    ReadOptions(**model.card.data.get("reading", {}))


CRAFTED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "temperature 0": (lambda c: c["calibration"].update(temperature=0), "calibration.temperature must be from 0.001"),
    "temperature NaN": (lambda c: c["calibration"].update(temperature=float("nan")), "temperature must be a finite"),
    "temperature text": (lambda c: c["calibration"].update(temperature="2"), "calibration.temperature must be from"),
    "temperature true": (lambda c: c["calibration"].update(temperature=True), "calibration.temperature must be from"),
    "threshold of another task": (
        lambda c: c.update(calibration={"threshold": 0.5, "split": "val", "n": 1}),
        "calibration of the task classify is null or has a temperature",
    ),
    "std 0": (lambda c: c["preprocessing"].update(std=[0.5, 0, 0.5]), r"preprocessing.std\[1\] must be from 1e-06"),
    "std of one channel": (lambda c: c["preprocessing"].update(std=[0.5]), "preprocessing.std must be 3 numbers"),
    "fewer classes": (lambda c: c.update(classes=c["classes"][1:]), "network.classes must be"),
    "repeated class": (
        lambda c: c["classes"].__setitem__(1, c["classes"][0]),
        "classes must be names that differ",
    ),
    "class of half a character": (
        lambda c: c["classes"].__setitem__(1, "\ud800"),
        r"classes\[1\] must be text in Unic",
    ),
    "class that is no text": (lambda c: c["classes"].__setitem__(1, 5), r"classes\[1\] must be text"),
    "unknown task": (lambda c: c.update(task="compose"), "the task compose is not one of"),
    "another task": (lambda c: c.update(task="detect"), "card.json"),
    "unknown field of preprocessing": (
        lambda c: c["preprocessing"].update(shear=1),
        'preprocessing."shear" is not known',
    ),
    "missing field of preprocessing": (lambda c: c["preprocessing"].pop("mean"), "preprocessing.mean is missing"),
    "absurd size": (lambda c: c["preprocessing"].update(size=10**9), "preprocessing.size must be an integer from 1 to"),
    "size too small": (lambda c: c["preprocessing"].update(size=2), "an input of 2 pixels, less than the"),
    "unknown fit": (lambda c: c["preprocessing"].update(fit="stretch"), "preprocessing.fit must be one of crop"),
    "metrics of another task": (
        lambda c: c.update(metrics={"val": {"n": 3, "miou": 0.5}}, summaries={}),
        "metrics.val are",
    ),
    "metrics without a count": (lambda c: c["metrics"]["val"].pop("n"), "metrics.val.n is missing"),
    "metrics that are text": (lambda c: c["metrics"]["val"].update(top1="good"), "metrics.val are not of the task"),
    "weights from elsewhere": (
        lambda c: c["network"].update(pretrained="/etc/passwd"),
        "network.pretrained is no option",
    ),
    "two options that are none": (
        lambda c: c["network"].update(wings=2, arms=1),
        "network.arms is no option of resnet20",
    ),
    "unknown network": (lambda c: c["network"].update(name="resnet21"), "card.json: unknown model 'resnet21'"),
    "unknown stem": (lambda c: c["network"].update(stem="round"), "describes no network that can be built"),
    "another head": (lambda c: c["head"].update(name="detector"), "head is not that of the task classify"),
    "left out without a reason": (lambda c: c["data"].update(left_out=["a.png"]), r"data.left_out\[0\] must be a list"),
    "unknown option of reading": (lambda c: c["data"]["reading"].update(shell="x"), 'reading."shell" is not known'),
    "no seed": (lambda c: c["recipe"].pop("seed"), "recipe.seed is missing"),
    "unknown field": (lambda c: c.update(strange=1), '"strange" is not known'),
    "number beyond 64 bits": (lambda c: c.update(parameters=2**70), "parameters must be an integer of 64 bits"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_card_is_refused_with_its_file_and_field(folder: Path, base: dict[str, Any], name: str) -> None:
    change, message = CRAFTED[name]
    crafted = json.loads(json.dumps(base))
    change(crafted)
    place(folder, as_json(crafted))
    with pytest.raises(BundleError, match=message) as caught:
        TrainedModel.load(folder)
    assert str(folder / "card.json") in str(caught.value)
    assert load(folder) is None


def test_a_card_as_written_is_decoded_and_used(folder: Path, base: dict[str, Any]) -> None:
    place(folder, as_json(base))
    model = load(folder)
    assert model is not None and dataclasses.asdict(model.card) == base
    use(model)


def test_any_change_of_a_card_is_refused_or_harmless(folder: Path, base: dict[str, Any]) -> None:
    @given(changed(base))
    def check(document: Any) -> None:
        place(folder, as_json(document))
        model = load(folder)
        if model is not None:
            use(model)

    check()


def test_any_damage_to_a_card_is_refused_or_harmless(folder: Path, base: dict[str, Any]) -> None:
    @given(damaged(as_json(base)))
    def check(content: bytes) -> None:
        place(folder, content)
        load(folder)

    check()


def test_the_fields_of_a_card_are_those_of_preprocessing_and_reading() -> None:
    """The decoder, which imports neither, names them itself."""
    assert set(PREPROCESSING) == {field.name for field in dataclasses.fields(Preprocessing)}
    assert set(READING) == {field.name for field in dataclasses.fields(ReadOptions)}
