"""A segmenter of torchvision becomes a bundle: its state dict gives its pixels, through our own preprocessing."""

from pathlib import Path

import numpy as np
import torch
from torchvision.models.segmentation import fcn_resnet50
from typer.testing import CliRunner

import skipway
from skipway.cli import app
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD

from .conftest import CPU

NAMES = ["background", "cat", "dog"]


def test_a_file_of_torchvisions_segmenter_gives_what_torchvisions_segmenter_gives(tmp_path: Path) -> None:
    """On an image of the network's own size, so that no resizing differs; the auxiliary head is in the file."""
    torch.manual_seed(0)
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=3, aux_loss=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    command = ["weights", "bundle", str(tmp_path / "net.pth"), "--model", "fcn_resnet50", "--size", "96"]
    command += ["--classes", str(tmp_path / "names.txt"), "--mean", ",".join(map(str, IMAGENET_MEAN))]
    made = CliRunner().invoke(
        app, [*command, "--std", ",".join(map(str, IMAGENET_STD)), "--out", str(tmp_path / "run")]
    )
    assert made.exit_code == 0, made.output
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    found = skipway.Predictor(tmp_path / "run", CPU).predict(pixels)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        scores = theirs(((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std)[None])["out"][0]
    best = scores.topk(2, dim=0).values
    decided = (best[0] - best[1] > 1e-3 * scores.abs().max()).numpy()
    assert decided.mean() > 0.9
    assert np.array_equal(found.labels[decided], scores.argmax(0).numpy()[decided])
    assert found.classes == tuple(NAMES)


def test_voc_weights_are_listed_with_their_mean_iou() -> None:
    said = CliRunner().invoke(app, ["weights", "list", "deeplabv3_resnet50*"])
    assert said.exit_code == 0
    assert "66.4" in said.output
    assert "mIoU" in said.output
