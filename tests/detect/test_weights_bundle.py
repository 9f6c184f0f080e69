"""A detector of torchvision becomes a bundle: its state dict gives its boxes, through our own preprocessing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.ops import batched_nms
from typer.testing import CliRunner

import skipway
from skipway.cli import app
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD

from .conftest import CPU

NAMES = ["cat", "dog", "hare"]


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    """torchvision's FCOS, not trained, its scores raised so that there is something to find."""
    torch.manual_seed(0)
    net = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3).eval()
    torch.nn.init.normal_(net.head.classification_head.cls_logits.weight, std=0.3)
    torch.nn.init.zeros_(net.head.classification_head.cls_logits.bias)
    return net


def test_a_file_of_torchvisions_detector_finds_what_torchvisions_detector_finds(
    theirs: torch.nn.Module, tmp_path: Path
) -> None:
    """On an image of the network's own size, so that no resizing differs; theirs without its own resizing."""
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    command = ["weights", "bundle", str(tmp_path / "net.pth"), "--model", "fcos_resnet50", "--size", "128"]
    command += ["--classes", str(tmp_path / "names.txt"), "--mean", ",".join(map(str, IMAGENET_MEAN))]
    made = CliRunner().invoke(
        app, [*command, "--std", ",".join(map(str, IMAGENET_STD)), "--out", str(tmp_path / "run")]
    )
    assert made.exit_code == 0, made.output
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    found = skipway.Predictor(tmp_path / "run", CPU).predict(pixels, threshold=0.3).objects
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    image = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std
    with torch.inference_mode():
        features = list(theirs.backbone(image[None]).values())
        raw = theirs.head(features)
        anchors = theirs.anchor_generator(images_of(image), features)
        counts = [f.shape[2] * f.shape[3] for f in features]
        split = {name: list(values.split(counts, dim=1)) for name, values in raw.items()}
        theirs.score_thresh, theirs.nms_thresh = 0.3, 0.6
        [expected] = theirs.postprocess_detections(split, [list(anchors[0].split(counts))], [(128, 128)])
    assert len(found) == len(expected["scores"]) > 5
    assert [one.score for one in found] == pytest.approx(expected["scores"].tolist(), abs=1e-4)
    assert [one.label for one in found] == [NAMES[i] for i in expected["labels"].tolist()]
    assert np.array([one.box for one in found]) == pytest.approx(expected["boxes"].numpy(), abs=0.01)
    assert len(batched_nms(expected["boxes"], expected["scores"], expected["labels"], 0.6)) == len(found)


def images_of(image: torch.Tensor) -> object:
    from torchvision.models.detection.image_list import ImageList

    return ImageList(image[None], [(128, 128)])


def test_coco_weights_are_listed_with_their_average_precision() -> None:
    listed = CliRunner().invoke(app, ["weights", "list", "fcos_resnet50*"])
    assert listed.exit_code == 0
    assert "fcos_resnet50.coco_v1" in listed.output
    assert "39.2" in listed.output
