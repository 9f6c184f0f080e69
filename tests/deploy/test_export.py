"""An export is the network: read back by other programs, at any batch, or not written at all."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from torch import Tensor

from skipway import bundle
from skipway.deploy.export import formats
from skipway.deploy.export.export import ExportRequest, ExportResult, export
from skipway.deploy.export.folder import verify
from skipway.deploy.predict.predictor import Predictor
from skipway.errors import BundleError, SkipwayError
from skipway.hardware import decide
from skipway.trained import TrainedModel

from .conftest import CLASSES, SHOWN, random_images


def expected(run: Path, images: Tensor) -> Tensor:
    net = TrainedModel.load(run).net
    with torch.inference_mode():
        return net(SHOWN.normalised(images))


Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # from images to scores and probabilities


def read_onnx(folder: Path) -> Read:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return lambda images: tuple(session.run(["scores", "probabilities"], {"images": images}))


def read_openvino(folder: Path) -> Read:
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = compiled({"images": images})
        return found["scores"].copy(), found["probabilities"].copy()

    return run


def read_torch(folder: Path) -> Read:
    module = torch.export.load(folder / "model.pt2").module()

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = module(torch.from_numpy(images))
        return found["scores"].detach().numpy(), found["probabilities"].detach().numpy()

    return run


def classes_onnx(folder: Path) -> str:
    return onnxruntime.InferenceSession(folder / "model.onnx").get_modelmeta().custom_metadata_map["skipway_classes"]


def classes_openvino(folder: Path) -> str:
    return openvino.Core().read_model(folder / "model.xml").get_rt_info("skipway_classes").value


def classes_torch(folder: Path) -> str:
    files = {"skipway_classes": ""}
    torch.export.load(folder / "model.pt2", extra_files=files)
    return files["skipway_classes"]


READERS = {"onnx": read_onnx, "openvino": read_openvino, "torch": read_torch}
NOTES = {"onnx": classes_onnx, "openvino": classes_openvino, "torch": classes_torch}


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ExportResult]:
    """exported(form): the export of `run`, made once; its folder is read only."""
    return cache(lambda form: export(run, ExportRequest(form, tmp_path_factory.mktemp("exports") / form)))


@pytest.mark.parametrize("form", READERS)
def test_an_export_gives_the_networks_scores_for_uint8_images_at_any_batch(
    run: Path, form: str, exported: Callable[[str], ExportResult]
) -> None:
    done = exported(form)
    read = READERS[form](done.folder)
    for count in (1, 2, 5, 7):
        images = random_images(count, seed=count)
        seen, _ = read(images.numpy())
        np.testing.assert_allclose(seen, expected(run, images).numpy(), atol=1e-4)
    evidence = json.loads((done.folder / "evidence.json").read_bytes())
    assert list(evidence["batches"]) == ["1", "2", "7"]
    assert all(row["agrees"] and row["images"] == 14 for row in evidence["batches"].values())
    assert "generated" in evidence["images"]  # what the network was trained on is nowhere
    assert json.loads((done.folder / "card.json").read_bytes())["classes"] == CLASSES
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=done.folder, check=True)
    assert "scores / 2" in (done.folder / "README.md").read_text()  # the temperature
    assert json.loads(NOTES[form](done.folder)) == CLASSES
    assert [output["name"] for output in evidence["outputs"]] == ["scores", "probabilities"]


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_an_export_gives_the_probabilities_that_predict_gives(
    run: Path, tmp_path: Path, make_images, exported: Callable[[str], ExportResult], form: str, task: str
) -> None:
    """Of a run at temperature 2, by another program that knows nothing of the card."""
    if task == "classify":
        folder, made = run, exported(form).folder
    else:
        folder = shutil.copytree(run, tmp_path / "run")
        bundle.seal(folder, replace(bundle.read_card(run), task=task))
        made = export(folder, ExportRequest(form, tmp_path / "out")).folder
    files = make_images(5)
    images = np.stack([SHOWN.open(file, "test").numpy() for file in files])
    found, seen = READERS[form](made)(images)
    for row, answer in zip(seen, Predictor(folder, decide("cpu")).predict(files, top=8), strict=True):
        np.testing.assert_allclose(
            [row[CLASSES.index(name)] for name, _ in answer.classes], [p for _, p in answer.classes], atol=1e-5
        )
    scores = torch.from_numpy(found) / 2
    by_hand = scores.sigmoid() if task == "tag" else scores.softmax(1)
    np.testing.assert_allclose(seen, by_hand, atol=1e-5)


def test_an_export_whose_probabilities_are_not_those_of_its_scores_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = formats.FORMATS["torch"]

    def write(wanted, folder):
        true.write(replace(wanted, temperature=1.0), folder)

    monkeypatch.setitem(formats.FORMATS, "torch", replace(true, write=write))
    with pytest.raises(SkipwayError, match=r"probabilities are not softmax\(scores / 2\), and it was not written"):
        export(run, ExportRequest("torch", tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_an_export_is_proven_on_the_images_given(run: Path, tmp_path: Path, make_images) -> None:
    done = export(run, ExportRequest("torch", tmp_path / "out", images=make_images(3)))
    assert done.evidence["images"] == "3 of the images given"
    with pytest.raises(SkipwayError, match="none of the 1 images given can be read"):
        export(run, ExportRequest("torch", tmp_path / "other", images=[tmp_path / "none.png"]))


def test_an_export_that_is_not_the_network_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer takes another network than the one it was given: one whose head's bias differs by 0.1."""
    true = formats.FORMATS["torch"]

    def write(wanted, folder):
        with torch.no_grad():
            other = TrainedModel.load(run).net
            other.fc.bias[0] += 0.1
        true.write(replace(wanted, trained=replace(wanted.trained, net=other)), folder)

    monkeypatch.setitem(formats.FORMATS, "torch", replace(true, write=write))
    with pytest.raises(SkipwayError, match="not the network, and was not written: in batches of 1 "):
        export(run, ExportRequest("torch", tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(SkipwayError, match="mine exists"):
        export(run, ExportRequest("onnx", tmp_path / "mine"))
    with pytest.raises(SkipwayError, match="did you mean 'onnx'"):
        export(run, ExportRequest("onx", tmp_path / "other"))
    with pytest.raises(SkipwayError, match="give --format openvino"):
        export(run, ExportRequest("onnx", tmp_path / "other", max_drop=0.5))


def test_an_export_that_was_changed_or_is_of_other_weights_is_refused(
    run: Path, tmp_path: Path, exported: Callable[[str], ExportResult]
) -> None:
    weights = bundle.read_card(run).weights_sha256
    folder = shutil.copytree(exported("torch").folder, tmp_path / "out")
    verify(folder, weights)
    with pytest.raises(BundleError, match="other weights"):
        verify(folder, "0" * 64)
    content = bytearray((folder / "model.pt2").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.pt2").write_bytes(content)
    with pytest.raises(BundleError, match="pt2 was changed"):
        verify(folder, weights)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="no whole export"):
        verify(folder, weights)
