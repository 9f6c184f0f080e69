"""A trained network used: prediction and evaluation agree, wherever the bundle lies."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import skipway
from skipway import hardware
from skipway.commands import train
from skipway.training.recipes import QUICK


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of small coloured noise as PNG, 20 images each: 60 is no multiple of the batch of inference."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir()
        for i in range(20):
            pixels = rng.integers(0, 120, (12, 12, 3), dtype=np.uint8)
            pixels[..., label] += 80
            Image.fromarray(pixels).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "colours"
    return train.train(folder, QUICK, out, hardware.decide(device="cpu"), epochs=4, batch=16).path


def test_predict_agrees_with_eval_digit_for_digit(run: Path, folder: Path) -> None:
    skipway.evaluate(run, split="train", out=run / "judged", hardware=hardware.decide(device="cpu"))
    judged = {p["name"]: p for p in json.loads((run / "judged" / "report.json").read_text())["predictions"]}
    assert len(judged) == 54
    files = [folder / name for name in reversed(judged)]  # another order, so other companions in each batch
    for file, answer in zip(
        files, skipway.Predictor(run, hardware.decide(device="cpu")).predict(files, top=1), strict=True
    ):
        expected = judged[file.relative_to(folder).as_posix()]
        assert answer.classes == ((expected["predicted"], expected["probability"]),)


def test_a_bundle_on_another_path_and_in_another_process_gives_equal_logits(run: Path, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "elsewhere" / "net"
    shutil.copytree(run, moved)
    images = torch.linspace(-2, 2, 16 * 3 * 12 * 12).view(16, 3, 12, 12)
    net = skipway.load(run).model
    with torch.inference_mode():
        here = net(images)
    code = (
        "import sys, torch, skipway; torch.set_num_threads(int(sys.argv[3]));"
        "x = torch.linspace(-2, 2, 16 * 3 * 12 * 12).view(16, 3, 12, 12);"
        "net = skipway.load(sys.argv[1]).model;"
        "torch.save(torch.inference_mode()(net)(x), sys.argv[2])"
    )
    file = tmp_path / "there.pt"
    subprocess.run([sys.executable, "-c", code, str(moved), str(file), str(torch.get_num_threads())], check=True)
    assert torch.equal(here, torch.load(file, weights_only=True))


def test_eval_on_the_trained_data_cuts_the_same_val_again(run: Path) -> None:
    card = skipway.load(run).card
    again = skipway.evaluate(run, split="val", hardware=hardware.decide(device="cpu"))
    assert again.metrics["n"] == card.data["counts"]["val"]
    assert again.metrics["top1"] == card.metrics["val"]["top1"]


def test_eval_leaves_out_again_what_training_left_out(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "colours")
    bad = tmp_path / "colours" / "red" / "07.png"
    bad.write_bytes(bad.read_bytes()[:50])
    recipe, computer = replace(QUICK, epochs=1, batch=16), hardware.decide(device="cpu")
    out = train.train(tmp_path / "colours", recipe, tmp_path / "run", computer, bad="skip").path
    again = skipway.evaluate(out, hardware=computer)
    card = skipway.load(out).card
    assert again.scored.trained_on
    assert again.metrics["top1"] == card.metrics["val"]["top1"]
    assert [name for name, _ in again.scored.left_out] == [name for name, _ in card.data["left_out"]] == ["red/07.png"]
    assert "red/07.png" in (out / "report.html").read_text()


def test_eval_on_a_folder_without_splits_judges_every_image(run: Path, folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder / "red", tmp_path / "new" / "red")
    shutil.copytree(folder / "blue", tmp_path / "new" / "blue")
    (tmp_path / "new" / "blue" / "19.png").unlink()
    found = skipway.evaluate(run, str(tmp_path / "new"), out=tmp_path / "out", hardware=hardware.decide(device="cpu"))
    assert (found.scored.split, found.metrics["n"]) == ("all", 39)
    truth = [found.classes[label] for label in found.labels]
    assert truth == [name.split("/")[0] for name in found.names]


def test_an_unreadable_image_is_named_and_the_others_are_answered(run: Path, folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("not an image")
    answers = list(skipway.Predictor(run).predict([folder / "red" / "00.png", bad, folder / "blue" / "00.png"]))
    assert [bool(a.error) for a in answers] == [False, True, False]
    assert "bad.jpg" in answers[1].error


def test_accuracy_is_what_numpy_counts(run: Path) -> None:
    found = skipway.evaluate(run, split="train", hardware=hardware.decide(device="cpu"))
    predicted = found.probabilities.argmax(1)
    assert found.metrics["top1"] == pytest.approx(np.mean(predicted == found.labels))
    matrix = np.zeros((3, 3), dtype=int)
    np.add.at(matrix, (found.labels, predicted), 1)
    assert np.array_equal(matrix, found.confusion)
    low, high = found.metrics["top1_interval"]
    p, n, z = np.mean(predicted == found.labels), len(predicted), 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert (low, high) == (pytest.approx(max(0, centre - half)), pytest.approx(min(1, centre + half)))
