"""An exported generator is the network, by other programs: its velocity at any batch and its samples."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from generated import as_trained, inputs_for, untrained, write_run
from torch import Tensor

from skipway.deploy.export.export import ExportRequest, export
from skipway.deploy.export.formats import FORMATS, Exportable
from skipway.errors import SkipwayError
from skipway.models.generation.unet import VelocityUNet
from skipway.tasks.generate.sampler import Sampler, SamplingOptions

NAMES = ("images", "times", "labels")
Program = Callable[..., Tensor]  # of noisy images, times and labels


def by_onnx(folder: Path) -> Program:
    session = onnxruntime.InferenceSession(folder / "model.onnx")

    def run(*inputs: Tensor) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(NAMES, inputs, strict=False)}
        return torch.from_numpy(session.run(["velocity"], given)[0])

    return run


def by_openvino(folder: Path) -> Program:
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(*inputs: Tensor) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(NAMES, inputs, strict=False)}
        return torch.from_numpy(compiled(given)["velocity"].copy())

    return run


def by_torch(folder: Path) -> Program:
    module = torch.export.load(folder / "model.pt2").module()
    return lambda *inputs: module(*inputs)["velocity"].detach()


PROGRAMS = {"onnx": by_onnx, "openvino": by_openvino, "torch": by_torch}


@pytest.fixture(scope="module")
def net() -> VelocityUNet:
    return untrained(3)


@pytest.fixture(scope="module")
def run(net: VelocityUNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("generators") / "run", net)


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """exported(form): the folder of the export, made once."""
    folder = tmp_path_factory.mktemp("exports")

    def made(form: str) -> Path:
        return folder / form if (folder / form).exists() else export(run, ExportRequest(form, folder / form)).folder

    return made


def sampled(velocity: Program) -> Tensor:
    with torch.inference_mode():
        sampler = Sampler(velocity, 3, (1, 8, 8), torch.device("cpu"), batch=4)
        return sampler.sample([0, 1, 2, None], 3, SamplingOptions(steps=8))


@pytest.mark.parametrize("form", PROGRAMS)
def test_an_export_gives_the_networks_velocity_at_any_batch_and_its_samples(
    form: str, net: VelocityUNet, exported: Callable[[str], Path]
) -> None:
    folder = exported(form)
    program = PROGRAMS[form](folder)
    for count in (1, 2, 7):
        inputs = inputs_for(as_trained(net), count)
        with torch.inference_mode():
            torch.testing.assert_close(program(*inputs), net(*inputs), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sampled(program), sampled(net), atol=1e-3, rtol=0)

    evidence = json.loads((folder / "evidence.json").read_bytes())
    assert evidence["inputs"] == [
        {"name": "images", "type": "float32", "shape": ["batch", 1, 8, 8]},
        {"name": "times", "type": "float32", "shape": ["batch"]},
        {"name": "labels", "type": "int64", "shape": ["batch"]},
    ]
    assert evidence["outputs"] == [{"name": "velocity", "type": "float32", "shape": ["batch", 1, 8, 8]}]
    assert list(evidence["batches"]) == ["1", "2", "7"]
    assert evidence["whole"]["agrees"] and evidence["whole"]["largest"] < evidence["whole"]["tolerance"]
    page = (folder / "README.md").read_text()
    assert "`images`, float32 (batch, 1, 8, 8), `times`, float32 (batch), `labels`, int64 (batch), any batch." in page
    assert "pixels from 0 to 255" not in page
    assert evidence["whole"]["summary"] in page


def test_every_input_of_an_onnx_export_has_the_same_free_batch(exported: Callable[[str], Path]) -> None:
    graph = onnx.load(exported("onnx") / "model.onnx").graph
    assert tuple(place.name for place in graph.input) == NAMES
    first = [place.type.tensor_type.shape.dim[0].dim_param for place in (*graph.input, *graph.output)]
    assert len(set(first)) == 1 and first[0], "a name, not a number"


def test_a_generator_without_classes_takes_no_labels(tmp_path: Path) -> None:
    """Its images are in colour, not square, and of odd sides."""
    net = untrained(0, 3)
    folder = export(write_run(tmp_path / "run", net, (9, 6)), ExportRequest("onnx", tmp_path / "out")).folder
    evidence = json.loads((folder / "evidence.json").read_bytes())
    assert [given["name"] for given in evidence["inputs"]] == ["images", "times"]
    assert evidence["whole"]["agrees"]
    assert "The classes are" not in (folder / "README.md").read_text()
    inputs = inputs_for(as_trained(net, (9, 6)), 3)
    with torch.inference_mode():
        torch.testing.assert_close(by_onnx(folder)(*inputs), net(*inputs), atol=1e-4, rtol=1e-4)


def with_bias(form: str, difference: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `form` written of a network whose velocity is `difference` larger."""
    true = FORMATS[form]

    def write(wanted: Exportable, folder: Path) -> None:
        other = untrained(3)
        with torch.no_grad():
            other.conv_out.bias += difference
        true.write(replace(wanted, trained=replace(wanted.trained, net=other)), folder)

    monkeypatch.setitem(FORMATS, form, replace(true, write=write))


def test_an_export_whose_velocity_is_another_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bias("torch", 0.01, monkeypatch)
    with pytest.raises(SkipwayError, match="not the network, and was not written: in batches of 1 "):
        export(run, ExportRequest("torch", tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_an_export_whose_samples_are_others_is_not_written_though_its_velocity_is_within_tolerance(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A velocity 1.1e-3 off everywhere, of at most 1e-3 times the largest, moves every pixel as far."""
    with_bias("torch", 1.1e-3, monkeypatch)
    with pytest.raises(SkipwayError, match="not the network, and was not written: over several calls ") as refused:
        export(run, ExportRequest("torch", tmp_path / "out"))
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ExportRequest("openvino", max_drop=0.5), "--int8 is for networks that take images, which those of generate"),
        (ExportRequest("onnx", nms=True), "--nms is for boxes, which the task generate does not have"),
        (ExportRequest("onnx", images=[Path("cat.png")]), "the task generate takes no images: leave out images and"),
        (ExportRequest("onnx", data="digits"), "the task generate takes no images: leave out images and data"),
    ],
)
def test_what_a_generator_does_not_have_is_refused_in_one_line(
    run: Path, tmp_path: Path, request_: ExportRequest, message: str
) -> None:
    with pytest.raises(SkipwayError, match=message) as refused:
        export(run, replace(request_, out=tmp_path / "out"))
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_openvino_export_of_a_fixed_batch_compiles_in_float32(
    net: VelocityUNet, exported: Callable[[str], Path]
) -> None:
    """Group normalisation before a product crashes there (OpenVINO 2026.4), which would end this process."""
    graph = openvino.Core().read_model(exported("openvino") / "model.xml")
    graph.reshape({"images": [2, 1, 8, 8], "times": [2], "labels": [2]})
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = inputs_for(as_trained(net), 2)
    with torch.inference_mode():
        np.testing.assert_allclose(compiled([given.numpy() for given in inputs])[0], net(*inputs), atol=1e-4)
