"""Weights of segmenters, and of classification networks for their bodies."""

import re
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from twins import shaken

from skipway.errors import SkipwayError
from skipway.models import SEGMENTERS, build, create_segmenter
from skipway.models.pretrained import embedded, hub
from skipway.models.pretrained.registry import COCO_VOC_WEIGHTS, COCO_WEIGHTS, WEIGHTS, all_weights, by_digest
from skipway.models.pretrained.state_dict_check import MismatchError
from skipway.models.pretrained.weights import find, load, network_of

MIOU = {  # COCO val2017 with VOC's classes, as published
    "fcn_resnet50": (60.5, 91.4),
    "fcn_resnet101": (63.7, 91.9),
    "deeplabv3_resnet50": (66.4, 92.4),
    "deeplabv3_resnet101": (67.4, 92.4),
}
BODY_NOTE = "the weights are those of its body {}, without the classifier; the rest is initialised"
CLASSES = 21


def equal(net: nn.Module, weights: dict[str, Tensor]) -> bool:
    own = net.state_dict()
    return own.keys() == weights.keys() and all(torch.equal(own[key], value) for key, value in weights.items())


# ---------------------------------------------------------------------------------------------------------------------
# The registry


def test_the_coco_weights_are_torchvisions() -> None:
    assert {w.net: (w.miou, w.pixel_accuracy) for w in COCO_VOC_WEIGHTS.values()} == MIOU
    assert set(COCO_VOC_WEIGHTS) == {f"{net}.coco_voc_v1" for net in MIOU}
    for w in COCO_VOC_WEIGHTS.values():
        digits = re.search(r"-([0-9a-f]{8})\.pth$", w.url)
        assert digits
        assert w.checksum == f"sha256:{digits[1]}"
        assert by_digest(digits[1] + "0" * 56) is w
        assert w.net in SEGMENTERS
        assert w.resize == 520
        assert len(w.classes) == CLASSES
        assert w.classes.index("person") == 15, "VOC's classes, with the background as class 0"
        assert "COCO" in w.terms()
    assert len(all_weights()) == len(WEIGHTS) + len(COCO_WEIGHTS) + len(COCO_VOC_WEIGHTS)


# ---------------------------------------------------------------------------------------------------------------------
# Segmenters' weights


@pytest.fixture(scope="module")
def fcn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A file with random weights of torchvision's network, in the place of those called fcn_resnet50.coco_voc_v1."""
    torch.manual_seed(0)
    net = torchvision.models.get_model("fcn_resnet50", weights=None, weights_backbone=None, aux_loss=True)
    file = tmp_path_factory.mktemp("weights") / "fcn.pth"
    torch.save(shaken(net).state_dict(), file)
    return file, net.state_dict()


@pytest.mark.parametrize("text", ["coco_voc_v1", "fcn_resnet50.coco_voc_v1"])
def test_the_name_of_coco_weights_leads_to_their_file(
    fcn: tuple[Path, dict[str, Tensor]], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, weights = fcn
    asked: list[str] = []
    monkeypatch.setattr(hub, "fetch_named", lambda record: asked.append(record.name) or file)
    found = find("fcn_resnet50", text)
    assert asked == ["fcn_resnet50.coco_voc_v1"]
    assert found.record is COCO_VOC_WEIGHTS["fcn_resnet50.coco_voc_v1"]
    assert network_of("fcn_resnet50.coco_voc_v1") == "fcn_resnet50"
    net = create_segmenter("fcn_resnet50", CLASSES)
    assert found.classes(net) == CLASSES
    assert load(net, found, "fcn_resnet50") == []
    assert equal(net, weights)


def test_another_number_of_classes_keeps_all_but_the_scores_and_says_so(fcn: tuple[Path, dict[str, Tensor]]) -> None:
    file, weights = fcn
    net = create_segmenter("fcn_resnet50", 7)
    fresh = {key: value.clone() for key, value in net.state_dict().items()}
    assert load(net, find("fcn_resnet50", str(file)), "fcn_resnet50") == [
        "the classifier for 21 classes is not used; a new one for 7 classes is initialised",
    ]
    for key, value in net.state_dict().items():
        assert torch.equal(value, fresh[key] if key.startswith(net.heads) else weights[key])


def test_a_file_without_the_auxiliary_classifier_loads(fcn: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    weights = {key: value for key, value in fcn[1].items() if not key.startswith("aux_classifier")}
    torch.save(weights, tmp_path / "w.pth")
    net = create_segmenter("fcn_resnet50", CLASSES)
    auxiliary = {key: value.clone() for key, value in net.aux_classifier.state_dict().items()}
    assert load(net, find("fcn_resnet50", str(tmp_path / "w.pth")), "fcn_resnet50") == []
    assert equal(net.aux_classifier, auxiliary)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in weights.items())


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "unet_resnet50", "fcn_resnet34"])
def test_weights_of_another_segmenter_are_refused(fcn: tuple[Path, dict[str, Tensor]], name: str) -> None:
    net = create_segmenter(name, CLASSES)
    with pytest.raises(MismatchError, match=f"do not fit {name}"):
        load(net, find(name, str(fcn[0])), name)


# ---------------------------------------------------------------------------------------------------------------------
# Bodies' weights


@pytest.fixture
def resnet18(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Random weights that stand for those called resnet18.tv_v1."""
    weights = shaken(torchvision.models.resnet18(weights=None)).state_dict()
    save_file(weights, tmp_path / "resnet18.safetensors")
    monkeypatch.setattr(hub, "fetch_named", lambda record: tmp_path / f"{record.net}.safetensors")
    return weights


@pytest.mark.parametrize("name", ["unet_resnet18", "unet_resnet18_light", "fcn_resnet18", "deeplabv3_resnet18"])
@pytest.mark.parametrize("text", ["resnet18.tv_v1", "tv_v1"])
def test_a_classifiers_weights_go_into_the_body_and_nowhere_else(
    name: str, text: str, resnet18: dict[str, Tensor]
) -> None:
    net = create_segmenter(name, 3)
    before = {key: value.clone() for key, value in net.state_dict().items() if not key.startswith("backbone.")}
    assert load(net, find(name, text), name) == [BODY_NOTE.format("resnet18")]
    assert equal(net.backbone, {key: value for key, value in resnet18.items() if not key.startswith("fc.")})
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())


def test_a_body_takes_a_file_of_any_classes_and_other_channels(tmp_path: Path) -> None:
    weights = build("resnet18", classes=5).state_dict()
    torch.save({f"module.{key}": value for key, value in weights.items()}, tmp_path / "c.pth")
    net = create_segmenter("unet_resnet18_light", 3, channels=1)
    assert load(net, find("unet_resnet18_light", str(tmp_path / "c.pth")), "unet_resnet18_light") == [
        "the prefix 'module.' is removed",
        "the first convolution is adapted to the number of channels",
        BODY_NOTE.format("resnet18"),
    ]
    grey = weights["conv1.weight"].sum(1, keepdim=True)
    assert torch.equal(net.backbone.get_submodule("conv1").weight, grey)


@pytest.mark.skipif(embedded.card() is None, reason="the package has no weights")
def test_the_embedded_weights_are_a_bodys() -> None:
    name, wanted = "unet_resnet18d_x0_5_light", build("resnet18d_x0_5", pretrained="embedded").state_dict()
    net = create_segmenter(name, 3)
    assert load(net, find(name, "embedded"), name) == [BODY_NOTE.format("resnet18d_x0_5")]
    assert equal(net.backbone, {key: value for key, value in wanted.items() if not key.startswith("fc.")})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("unet_resnet18", "resnet50.tv_v1", r"weights of resnet50, not of unet_resnet18 or its body resnet18"),
        ("unet_resnet50", "fcn_resnet50.coco_voc_v1", r"weights of fcn_resnet50, not of unet_resnet50 or its body"),
        ("unet_resnet50", "coco_voc_v1", r"no coco_voc_v1 weights of unet_resnet50: `skipway weights list resnet50`"),
        ("fcn_resnet50", "coco_voc_v2", r"unknown weights 'coco_voc_v2': did you mean 'coco_voc_v1'"),
        ("fcn_resnet5", "coco_voc_v1", r"unknown model 'fcn_resnet5': did you mean 'fcn_resnet50'"),
    ],
)
def test_weights_that_do_not_fit_or_exist_are_refused_in_a_line(name: str, text: str, message: str) -> None:
    with pytest.raises(SkipwayError, match=message):
        find(name, text)


def test_a_bundles_card_names_a_segmenter(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"network": {"name": "unet_resnet18"}}')
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
    assert network_of(str(tmp_path)) == "unet_resnet18"
