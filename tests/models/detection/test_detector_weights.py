"""Weights of detectors, and of classification networks for the bodies of detectors."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from models.detection import theirs
from models.detection.theirs import images
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d
from twins import shaken

from skipway.errors import SkipwayError
from skipway.models import DETECTORS, build, create_detector
from skipway.models.pretrained import embedded, hub
from skipway.models.pretrained.convert import translate
from skipway.models.pretrained.registry import COCO_WEIGHTS, WEIGHTS, by_digest
from skipway.models.pretrained.state_dict_check import MismatchError
from skipway.models.pretrained.weights import find, load, network_of, read_for

BOX_AP = {  # COCO val2017, as published
    "fcos_resnet50": 39.2,
    "retinanet_resnet50": 36.4,
    "retinanet_resnet50_v2": 41.5,
    "fasterrcnn_resnet50": 37.0,
    "fasterrcnn_resnet50_v2": 46.7,
    "maskrcnn_resnet50": 37.9,
    "maskrcnn_resnet50_v2": 47.4,
}
BODY_NOTE = "the weights are those of its body {}, without the classifier; the rest is initialised"


def equal(net: nn.Module, weights: dict[str, Tensor]) -> bool:
    own = net.state_dict()
    return own.keys() == weights.keys() and all(torch.equal(own[key], value) for key, value in weights.items())


# ---------------------------------------------------------------------------------------------------------------------
# The registry


def test_the_coco_weights_are_torchvisions() -> None:
    assert {w.net: w.box_ap for w in COCO_WEIGHTS.values()} == BOX_AP
    assert set(COCO_WEIGHTS) == {f"{net}.coco_v1" for net in BOX_AP}
    for w in COCO_WEIGHTS.values():
        digits = re.search(r"-([0-9a-f]{8})\.pth$", w.url)
        assert digits
        assert w.checksum == f"sha256:{digits[1]}"
        assert by_digest(digits[1] + "0" * 56) is w
        assert w.net in DETECTORS
        assert "COCO" in w.terms()
    assert not set(COCO_WEIGHTS) & set(WEIGHTS)


@pytest.mark.parametrize("name", BOX_AP)
def test_the_classes_of_coco_weights_are_those_of_their_91_outputs(name: str) -> None:
    """Class 0 is the background, which two-stage networks score and ours do not count."""
    w = COCO_WEIGHTS[f"{name}.coco_v1"]
    with torch.device("meta"):
        net = create_detector(name, len(w.classes))
    outputs = len(net.get_submodule(net.heads[0]).bias)
    assert outputs // (9 if "retinanet" in name else 1) == 91
    assert w.classes.index("person") == (0 if "rcnn" in name else 1)


# ---------------------------------------------------------------------------------------------------------------------
# Detectors' weights


def of_before(name: str, key: str) -> str:
    """The name that a tensor had in torchvision before 0.13."""
    key = re.sub(r"((?:inner|layer)_blocks\.\d)\.0\.", r"\1.", key)
    key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    key = re.sub(r"mask_head\.(\d)\.0\.", lambda m: f"mask_head.mask_fcn{int(m[1]) + 1}.", key)
    if name.startswith("retinanet"):
        key = re.sub(r"_head\.conv\.(\d)\.0\.", lambda m: f"_head.conv.{2 * int(m[1])}.", key)
    return key


@pytest.mark.parametrize("name", ["fcos_resnet18", "retinanet_resnet18", "fasterrcnn_resnet18", "maskrcnn_resnet18"])
def test_torchvisions_earlier_names_are_read(name: str) -> None:
    their = theirs.THEIRS[name]()
    own = their.state_dict()
    before = {of_before(name, key): value for key, value in own.items() if "num_batches" not in key}
    their.load_state_dict(dict(before), strict=False)  # torchvision itself reads them so
    turned, said = translate(before)
    assert set(turned) == {key for key in own if "num_batches" not in key}
    assert "earlier detector names" in said
    assert translate(dict(own)) == (own, "")


def test_weights_of_a_network_whose_norms_add_no_epsilon_give_its_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchvision's first COCO weights, which it runs in frozen normalisation with an epsilon of 0."""
    their = theirs.build("retinanet_resnet18")
    with torch.no_grad():
        for module in their.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var[:8] = 10.0 ** torch.arange(-9, -1)  # also far below the epsilon
                module.weight[:8] = module.running_var[:8].sqrt()
    torch.save(their.state_dict(), tmp_path / "w.pth")
    record = replace(COCO_WEIGHTS["retinanet_resnet50.coco_v1"], net="retinanet_resnet18")
    found, net = read_for(tmp_path / "w.pth", "retinanet_resnet18", record), create_detector("retinanet_resnet18", 4)
    assert "batch-norm scales are converted from an epsilon of 0 to 1e-05" in load(net, found, "retinanet_resnet18")
    frozen = detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=FrozenBatchNorm2d
    ).body
    frozen.load_state_dict(
        {k.removeprefix("backbone.body."): v for k, v in their.state_dict().items() if ".body." in k}
    )
    detection._utils.overwrite_eps(frozen, 0.0)
    with torch.no_grad():
        ours, wanted = net.eval().backbone.body.features(images())[-1], list(frozen(images()).values())[-1]
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["fcos_resnet18", "retinanet_resnet18_v2", "maskrcnn_resnet18"])
def test_another_number_of_classes_keeps_all_but_the_class_layers_and_says_so(tmp_path: Path, name: str) -> None:
    weights = theirs.build(name).state_dict()
    torch.save({"model": weights, "epoch": 25}, tmp_path / "w.pth")
    same, other = create_detector(name, theirs.CLASSES), create_detector(name, 7)
    found = find(name, str(tmp_path / "w.pth"))
    assert found.classes(same) == theirs.CLASSES
    assert load(same, found, name) == []
    assert equal(same, weights)
    fresh = {key: value.clone() for key, value in other.state_dict().items()}
    notes = load(other, found, name)
    assert notes == ["the classifier for 4 classes is not used; a new one for 7 classes is initialised"]
    for key, value in other.state_dict().items():
        assert torch.equal(value, fresh[key] if key.startswith(other.heads) else weights[key])


def test_weights_of_another_detector_are_refused_and_change_nothing(tmp_path: Path) -> None:
    torch.save(theirs.build("fcos_resnet18").state_dict(), tmp_path / "w.pth")
    for name in ("retinanet_resnet18", "fasterrcnn_resnet18", "fcos_resnet18_light"):
        net = create_detector(name, theirs.CLASSES)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        with pytest.raises(MismatchError, match=f"do not fit {name}"):
            load(net, find(name, str(tmp_path / "w.pth")), name)
        assert equal(net, before)


def test_a_file_without_the_second_stage_is_not_taken_for_one_with_other_classes(tmp_path: Path) -> None:
    weights = create_detector("fasterrcnn_resnet18d_x0_5", 3).state_dict()
    torch.save({k: v for k, v in weights.items() if not k.startswith("roi_heads")}, tmp_path / "w.pth")
    with pytest.raises(MismatchError, match=r"missing \(roi_heads\.box_head\.fc6"):
        load(
            create_detector("fasterrcnn_resnet18d_x0_5", 3),
            find("fasterrcnn_resnet18d_x0_5", str(tmp_path / "w.pth")),
            "fasterrcnn_resnet18d_x0_5",
        )


# ---------------------------------------------------------------------------------------------------------------------
# Bodies' weights


@pytest.fixture
def resnet18(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Random weights that stand for those called resnet18.tv_v1."""
    weights = shaken(torchvision.models.resnet18(weights=None)).state_dict()
    save_file(weights, tmp_path / "resnet18.safetensors")
    monkeypatch.setattr(hub, "fetch_named", lambda record: tmp_path / f"{record.net}.safetensors")
    return weights


@pytest.mark.parametrize("name", ["fcos_resnet18", "retinanet_resnet18_v2", "fasterrcnn_resnet18"])
@pytest.mark.parametrize("text", ["resnet18.tv_v1", "tv_v1"])
def test_a_classifiers_weights_go_into_the_body_and_nowhere_else(
    name: str, text: str, resnet18: dict[str, Tensor]
) -> None:
    net = create_detector(name, 3)
    before = {key: value.clone() for key, value in net.state_dict().items() if ".body." not in key}
    assert load(net, find(name, text), name) == [BODY_NOTE.format("resnet18")]
    assert equal(net.backbone.body, {key: value for key, value in resnet18.items() if not key.startswith("fc.")})
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())


def test_a_body_takes_a_file_of_any_classes_and_other_channels(tmp_path: Path) -> None:
    weights = build("densenet121", classes=5).state_dict()
    assert not [name for name in DETECTORS if "densenet" in name]
    torch.save(
        {f"module.{key}": value for key, value in build("resnet18", classes=5).state_dict().items()}, tmp_path / "c.pth"
    )
    net = create_detector("fcos_resnet18_light", 3, channels=1)
    assert load(net, find("fcos_resnet18_light", str(tmp_path / "c.pth")), "fcos_resnet18_light") == [
        "the prefix 'module.' is removed",
        "the first convolution is adapted to the number of channels",
        BODY_NOTE.format("resnet18"),
    ]
    torch.save(weights, tmp_path / "d.pth")
    with pytest.raises(MismatchError, match="do not fit fcos_resnet18_light"):
        load(net, find("fcos_resnet18_light", str(tmp_path / "d.pth")), "fcos_resnet18_light")


@pytest.mark.skipif(embedded.card() is None, reason="the package has no weights")
def test_the_embedded_weights_are_a_bodys() -> None:
    net, wanted = create_detector("fcos_resnet18d_x0_5", 3), build("resnet18d_x0_5", pretrained="embedded").state_dict()
    assert load(net, find("fcos_resnet18d_x0_5", "embedded"), "fcos_resnet18d_x0_5") == [
        BODY_NOTE.format("resnet18d_x0_5")
    ]
    assert equal(net.backbone.body, {key: value for key, value in wanted.items() if not key.startswith("fc.")})


def test_the_papers_detector_takes_all_five_stages(tmp_path: Path) -> None:
    weights = build("resnet101").state_dict()
    torch.save(weights, tmp_path / "w.pth")
    net = create_detector("fasterrcnn_resnet101_c4", 3)
    load(net, find("fasterrcnn_resnet101_c4", str(tmp_path / "w.pth")), "fasterrcnn_resnet101_c4")
    assert torch.equal(net.roi_heads.box_head.stage[0][2].conv3.weight, weights["layer4.2.conv3.weight"])


def test_the_name_of_coco_weights_leads_to_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(record: object) -> Path:
        asked.append(record.name)  # type: ignore[attr-defined]
        return tmp_path / "w.pth"

    monkeypatch.setattr(hub, "fetch_named", fetch)
    torch.save(create_detector("fcos_resnet50", 91).state_dict(), tmp_path / "w.pth")
    found = find("fcos_resnet50", "coco_v1")
    assert asked == ["fcos_resnet50.coco_v1"]
    assert found.record is COCO_WEIGHTS["fcos_resnet50.coco_v1"]
    with torch.device("meta"):
        assert found.classes(create_detector("fcos_resnet50", 3)) == 91
    assert network_of("fcos_resnet50.coco_v1") == "fcos_resnet50"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("fcos_resnet18", "resnet50.tv_v1", r"weights of resnet50, not of fcos_resnet18 or its body resnet18"),
        ("fcos_resnet18", "embedded", r"weights of resnet18d_x0_5, not of fcos_resnet18 or its body resnet18"),
        ("fcos_resnet18", "coco_v1", r"no coco_v1 weights of fcos_resnet18: `skipway weights list resnet18`"),
        ("fcos_resnet50", "coco_v2", r"unknown weights 'coco_v2': did you mean 'coco_v1'"),
        ("fcos_resnet5", "coco_v1", r"unknown model 'fcos_resnet5': did you mean 'fcos_resnet50'"),
    ],
)
def test_weights_that_do_not_fit_or_exist_are_refused_in_a_line(name: str, text: str, message: str) -> None:
    with pytest.raises(SkipwayError, match=message):
        find(name, text)


def test_a_bundles_card_names_a_detector(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"network": {"name": "fcos_resnet18"}}')
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
    assert network_of(str(tmp_path)) == "fcos_resnet18"
