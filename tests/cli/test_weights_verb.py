"""`skipway weights`: what it prints, what it refuses, and the bundles it makes, which the other verbs take."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner, Result

import skipway
from skipway.bundle import read_card
from skipway.cli.weights import weights_app
from skipway.data import open_dataset
from skipway.errors import SkipwayError
from skipway.hardware import decide
from skipway.models import build
from skipway.models.pretrained.registry import CIFAR10
from skipway.models.pretrained.state_dicts import read_state_dicts

MEAN, STD = "0.485,0.456,0.406", "0.229,0.224,0.225"


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(weights_app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("weights") / "own.safetensors"
    save_file(build("resnet20", classes=3).state_dict(), file)
    return file


def test_importing_the_verbs_does_not_import_torch() -> None:
    code = "import sys, skipway.cli.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_list_shows_accuracy_source_and_licence() -> None:
    text = run("list", "resnet50.tv").output
    row = next(line for line in text.splitlines() if line.startswith("resnet50.tv_v2"))
    for part in ("80.86", "95.43", "BSD-3"):
        assert part in row


def test_list_gives_the_same_to_machines() -> None:
    rows = json.loads(run("list", "resnet50.*", "--json").output)
    found = {row["name"]: row for row in rows}
    assert found["resnet50.tv_v2"]["top1"] == 80.858
    assert found["resnet50.tv_v2"]["classes"] == 1000
    assert found["resnet50.a1_in1k"]["url"] == "hf:timm/resnet50.a1_in1k/model.safetensors"


def test_a_wrong_name_is_one_line_with_the_nearest() -> None:
    with pytest.raises(SkipwayError, match=r"unknown weights 'resnet50\.tv_v3': did you mean") as caught:
        run("fetch", "resnet50.tv_v3")
    assert "\n" not in str(caught.value)


def test_verify_says_what_a_file_is(own_file: Path) -> None:
    text = run("verify", own_file, "--model", "resnet20").output
    assert "fits resnet20" in text
    assert "sha256 " in text


def test_verify_prints_every_entry_that_differs_and_fails(own_file: Path) -> None:
    result = CliRunner().invoke(weights_app, ["verify", str(own_file), "--model", "resnet32"])
    assert result.output.count("missing") == 60  # 6 units of two convolutions, each with its normalisation's four
    assert isinstance(result.exception, SkipwayError)
    assert "\n" not in str(result.exception)


def test_verify_prints_the_table_of_a_network_of_quite_another_kind(own_file: Path) -> None:
    result = CliRunner().invoke(weights_app, ["verify", str(own_file), "--model", "vgg11"])
    assert "features.0.weight" in result.output
    assert "layer1.0.conv1.weight" in result.output
    assert isinstance(result.exception, SkipwayError)


def test_verify_tells_machines_the_same(own_file: Path) -> None:
    result = CliRunner().invoke(weights_app, ["verify", str(own_file), "--model", "resnet32", "--json"])
    found = json.loads(result.output)
    assert found["fits"] == ""
    assert {row["what"] for row in found["mismatch"]} == {"missing"}


@pytest.fixture
def wrapped_file(own_file: Path, tmp_path: Path) -> Path:
    """The weights of `own_file` as part of a larger module, with what its training needed beside them."""
    weights = read_state_dicts(own_file)[0].tensors
    inside = {f"net.{key}": value for key, value in weights.items()} | {"loss.weight": torch.ones(3)}
    torch.save({"state_dict": inside, "optimizer": {"momentum": torch.ones(1)}}, tmp_path / "c.ckpt")
    return tmp_path / "c.ckpt"


def test_verify_and_bundle_say_how_a_foreign_file_is_read(wrapped_file: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    text = run("verify", wrapped_file, "--model", "resnet20").output
    given = ["--classes", tmp_path / "names.txt", "--mean", MEAN, "--std", STD]
    also = run("bundle", wrapped_file, "--model", "resnet20", "--out", tmp_path / "b", *given).output
    assert "fits resnet20" in text
    for said in (text, also):
        assert "'state_dict' of the file is used, and not optimizer (1 tensors)" in said
        assert "the prefix 'net.' is removed" in said
        assert "1 tensor of the file is not used (loss.weight)" in said
    assert "net." in read_card(tmp_path / "b").recipe["translation"]


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"<html>"])
def test_a_corrupt_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(SkipwayError, match=r"w\.safetensors") as caught:
        run("verify", tmp_path / "w.safetensors", "--model", "resnet20")
    assert "\n" not in str(caught.value)


def test_a_bundle_answers_as_its_weights_do(own_file: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\n\ncat\n")
    arguments = ["bundle", own_file, "--model", "resnet20", "--out", tmp_path / "b", "--mean", MEAN, "--std", STD]
    run(*arguments, "--classes", tmp_path / "names.txt")
    card = read_card(tmp_path / "b")
    assert card.classes == ["ant", "bee", "cat"]
    assert card.preprocessing["size"] == card.preprocessing["resize"] == 32
    net = skipway.load(tmp_path / "b").model
    twin = build("resnet20", classes=3)
    twin.load_state_dict(read_state_dicts(own_file)[0].tensors)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(x), twin.eval()(x))


@pytest.mark.parametrize(
    ("left_out", "said"),
    [("--model", "give --model"), ("--classes", "give --classes"), ("--mean", "give --mean"), ("--std", "give --mean")],
)
def test_what_nobody_can_know_is_asked_for(own_file: Path, tmp_path: Path, left_out: str, said: str) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    options = {"--model": "resnet20", "--classes": str(tmp_path / "names.txt"), "--mean": MEAN, "--std": STD}
    given = [word for name, value in options.items() if name != left_out for word in (name, value)]
    with pytest.raises(SkipwayError, match=said):
        run("bundle", own_file, "--out", tmp_path / "b", *given)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--mean", "0.5", "--mean has 1 values, and the images 3 channels"),
        ("--std", "a,b,c", "--std a,b,c is not a list of numbers"),
        ("--classes", "cifar10", "3 classes, and 10 names"),
        ("--classes", "nowhere.txt", "neither imagenet nor cifar10 nor a text file"),
        ("--std", "0.2,0,0.2", "above 0"),
        ("--mean", "nan,0,0", "finite"),
        ("--size", "2", "too small for resnet20"),
        ("--resize", "16", "less than the 32 pixels"),
        ("--model", "resnet32", "do not fit resnet32"),
        ("--model", "resnet19", "unknown model 'resnet19'"),
    ],
)
def test_what_does_not_fit_is_refused(own_file: Path, tmp_path: Path, option: str, value: str, said: str) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    options = {"--model": "resnet20", "--classes": str(tmp_path / "names.txt"), "--mean": MEAN, "--std": STD}
    given = [word for pair in (options | {option: value}).items() for word in pair]
    with pytest.raises(SkipwayError, match=said) as caught:
        run("bundle", own_file, "--out", tmp_path / "b", *given)
    assert "\n" not in str(caught.value)


def test_anothers_cifar_net_reaches_what_an_independent_program_measured(shared_data: Path, tmp_path: Path) -> None:
    """A deeper one: tests/evaluation/test_protocols.py, on fewer images."""
    text = run("bundle", shared_data / "weights" / "resnet20-12fca82f.th", "--out", tmp_path / "b").output
    assert "known by its checksum as resnet20.akamaster" in text
    assert "both sides" in text, "what was turned must be said"
    assert tuple(read_card(tmp_path / "b").classes) == CIFAR10
    dataset = open_dataset(str(shared_data / "cifar10" / "test.parquet"))
    found = skipway.evaluate(tmp_path / "b", dataset, out=tmp_path / "judged", hardware=decide("cpu"))
    assert np.trace(found.confusion) == 8103
    assert found.confusion.sum() == 10_000


def test_a_foreign_file_that_nobody_knows_takes_the_same_way(
    shared_data: Path, tmp_path: Path, small_change: dict[str, Tensor]
) -> None:
    torch.save({"state_dict": small_change}, tmp_path / "changed.th")
    arguments = ["bundle", tmp_path / "changed.th", "--model", "resnet20", "--out", tmp_path / "b"]
    text = run(*arguments, "--classes", "cifar10", "--mean", MEAN, "--std", STD).output
    assert "known by" not in text
    assert "both sides" in text
    assert read_card(tmp_path / "b").recipe["pretrained"] == "changed.th"


@pytest.fixture
def small_change(shared_data: Path) -> dict[str, Tensor]:
    """akamaster's ResNet-20 with one number changed, under its own names."""
    weights = read_state_dicts(shared_data / "weights" / "resnet20-12fca82f.th")[0].tensors
    weights["module.linear.bias"][0] += 1
    return weights
