"""The weights in the package: packed in half precision, described, found under their name, fed as they were trained."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MakePhotos
from safetensors.torch import load_file

from benchmarks import pretrain
from skipway import bundle, models
from skipway.commands import import_weights
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError
from skipway.models.pretrained import embedded, registry
from skipway.models.pretrained.registry import IMAGENET_MEAN, IMAGENET_STD, WEIGHTS
from skipway.models.pretrained.weights import find, is_available, is_cached, load, locate, network_of
from skipway.trained import TrainedModel

NET = "resnet18d_x0_5"
CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")


@pytest.fixture(scope="module")
def every(make_photos: MakePhotos, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(str(make_photos(tmp_path_factory.mktemp("data") / "six", CLASSES, each=4)))


@pytest.fixture(scope="module")
def run(every: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as a finished pretraining leaves it, its network untrained but for statistics far from float16's."""
    torch.manual_seed(5)
    source = pretrain.of_classes(every, pretrain.pretraining_classes(every))
    net = models.build(NET, classes=5)
    with torch.no_grad():
        net.bn1.running_var.fill_(1e-9)
        net.layer4[1].bn2.running_mean.fill_(1e6)
    card = bundle.Card(
        task="classify",
        network={"name": NET, "classes": 5, "channels": 3, "stem": "imagenet"},
        classes=list(source.classes),
        preprocessing=asdict(Preprocessing(3, 32, 37, IMAGENET_MEAN, IMAGENET_STD)),
        recipe={"name": "pretrain", "val": 0.5, "seed": 0},
        data={"name": "six", "fingerprint": source.fingerprint, "counts": {"train": 10, "val": 10}},
        hardware={"device": "cpu"},
        versions={"torch": "2"},
        commit="abc",
        created="2026-01-01T00:00:00+00:00",
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=90.0,
    )
    folder = tmp_path_factory.mktemp("run")
    bundle.write(folder, net.state_dict(), card)
    return folder


@pytest.fixture(scope="module")
def packed(run: Path, every: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "embedded"
    pretrain.pack(run, every, folder)
    return folder


def embed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package have the weights that are in `folder`; none, where there is nothing."""
    monkeypatch.setattr(embedded, "folder", lambda: folder)
    monkeypatch.delitem(WEIGHTS, embedded.NAME, raising=False)
    for record in registry.from_package():
        monkeypatch.setitem(WEIGHTS, record.name, record)


@pytest.fixture
def embedded_pack(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(packed, monkeypatch)


# ---------------------------------------------------------------------------------------------------------------------
# The pack


def test_kernels_are_packed_in_float16_and_vectors_as_they_are(packed: Path, run: Path) -> None:
    before, after = load_file(run / "weights.safetensors"), load_file(packed / "weights.safetensors")
    assert set(after) == {key for key in before if "num_batches" not in key}
    for key, value in after.items():
        assert value.dtype == (torch.float16 if value.dim() > 1 else torch.float32)
        torch.testing.assert_close(value.float(), before[key], rtol=2**-11, atol=2**-24)
    assert torch.equal(after["bn1.running_var"], before["bn1.running_var"]), "1e-9 would be 0 in float16"


def test_the_card_says_what_the_weights_are_and_what_they_have_not_seen(packed: Path, run: Path) -> None:
    card = json.loads((packed / "card.json").read_text())
    assert card["name"] == f"{NET}.embedded"
    assert card["classes"] == ["ant", "bee", "cat", "dog", "eel"]
    assert card["data"]["classes_kept_out"] == ["fox"]
    assert card["data"]["images"] == 20
    assert "non-commercial" in card["data"]["terms"]
    assert card["metrics"]["n"] == 10
    assert "val" in card["metrics"]["split"]
    assert card["preprocessing"] == bundle.read_card(run).preprocessing
    assert (card["minutes"], card["commit"], card["licence"]) == (1.5, "abc", "Apache-2.0")
    assert card["weights_sha256"] == bundle.sha256(packed / "weights.safetensors")


def test_values_that_float16_cannot_hold_are_refused() -> None:
    with pytest.raises(SkipwayError, match="a cannot be in float16"):
        pretrain.halved({"a": torch.full((2, 2), 1e6), "b": torch.ones(2)})


def test_a_pack_that_costs_accuracy_or_is_large_is_refused_and_not_written(
    run: Path, every: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "LARGEST", 1_000)
    with pytest.raises(SkipwayError, match="at most 1,000 are embedded"):
        pretrain.pack(run, every, tmp_path / "embedded")
    monkeypatch.undo()
    figures = iter([{"top1": 0.5}, {"top1": 0.498}])
    monkeypatch.setattr(pretrain, "on_val", lambda *_: next(figures))
    with pytest.raises(SkipwayError, match=r"from 0\.5000 to 0\.4980"):
        pretrain.pack(run, every, tmp_path / "embedded")
    assert not (tmp_path / "embedded").exists()


def test_the_network_of_the_embedded_weights_is_small_enough_to_be_embedded() -> None:
    with torch.device("meta"):
        net = models.build(NET, classes=180)
    numbers = [math.prod(v.shape) * (2 if v.dim() > 1 else 4) for v in net.state_dict().values()]
    assert sum(numbers) + 100 * len(numbers) < pretrain.LARGEST


# ---------------------------------------------------------------------------------------------------------------------
# Their use


@pytest.mark.usefixtures("embedded_pack")
@pytest.mark.parametrize(
    ("model", "text"), [(None, "embedded"), (NET, "embedded"), (None, f"{NET}.embedded"), (NET, f"{NET}.embedded")]
)
def test_the_embedded_weights_are_found_by_either_name_and_become_float32(
    model: str | None, text: str, run: Path, packed: Path
) -> None:
    found = find(model, text)
    assert found.record is not None
    assert (found.record.net, found.record.size, found.record.resize) == (NET, 32, 37)
    assert found.file == packed / "weights.safetensors"
    assert {value.dtype for value in found.weights.values()} == {torch.float32}
    net = models.build(NET, classes=5)
    assert load(net, found, NET) == []
    before = load_file(run / "weights.safetensors")
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=2**-11, atol=2**-24)


@pytest.mark.usefixtures("embedded_pack")
def test_the_embedded_weights_fine_tune_another_number_of_classes_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    assert load(models.build(NET, classes=3), find(NET, "embedded"), NET) == [
        "the classifier for 5 classes is not used; a new one for 3 classes is initialised"
    ]
    assert is_cached("embedded")
    assert is_available("embedded")


@pytest.mark.usefixtures("embedded_pack")
def test_the_embedded_weights_become_a_bundle(tmp_path: Path) -> None:
    card, _ = import_weights.import_weights("embedded", tmp_path / "b")
    assert card.network == {"name": NET, "classes": 5, "channels": 3, "stem": "imagenet"}
    assert (card.classes[0], card.preprocessing["size"], card.preprocessing["resize"]) == ("ant", 32, 37)
    TrainedModel.load(tmp_path / "b")


@pytest.mark.usefixtures("embedded_pack")
def test_the_embedded_weights_are_refused_for_another_network() -> None:
    with pytest.raises(SkipwayError, match=rf"embedded are weights of {NET}, not of resnet50"):
        find("resnet50", "embedded")


@pytest.mark.usefixtures("embedded_pack")
def test_a_copy_of_the_file_is_known_by_its_checksum(packed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((packed / "weights.safetensors").read_bytes())
    assert network_of(str(copy)) == NET


def test_changed_embedded_weights_are_refused(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (packed / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "card.json").write_bytes((packed / "card.json").read_bytes())
    embed(tmp_path, monkeypatch)
    with pytest.raises(SkipwayError, match="install skipway again"):
        locate(None, "embedded")


@pytest.mark.parametrize("text", ["embedded", f"{NET}.embedded"])
@pytest.mark.parametrize("model", [None, NET])
def test_an_installation_without_them_says_so_in_one_line(
    text: str, model: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(tmp_path / "none", monkeypatch)
    with pytest.raises(SkipwayError, match=r"has no embedded weights: .*weights list") as caught:
        find(model, text)
    assert "\n" not in str(caught.value)
    assert not is_cached(text)
    assert not is_available(text)


def test_what_is_in_the_package_is_as_it_was_packed() -> None:
    """The real ones, where this copy of the package has them."""
    record: Any = WEIGHTS.get(embedded.NAME)
    if record is None:
        pytest.skip("this copy of the package has no embedded weights")
    found = find(None, "embedded")
    net = models.build(NET, classes=len(record.classes))
    assert load(net, found, NET) == []
    assert (len(record.classes), record.size) == (180, 96)
