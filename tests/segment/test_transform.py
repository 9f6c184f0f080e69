"""Label maps follow their images through every augmentation, pixel by pixel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation
from torch.nn.functional import interpolate

from skipway.data.mask_targets import IGNORE, from_label_maps
from skipway.data.preprocess import Preprocessing
from skipway.tasks.crop_window import Window
from skipway.tasks.segment.confusion import boundaries
from skipway.tasks.segment.label_maps import confidences, label_map, thumbnails
from skipway.tasks.segment.transform import LabelMapTransform

PAD = Preprocessing(3, 96, 96, (0.5,) * 3, (0.5,) * 3, fit="pad", height=64)


def halves(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image, white where its label is 1, in a rectangle, and black where it is 0."""
    labels = torch.zeros(height, width, dtype=torch.uint8)
    labels[height // 4 : height // 2, width // 3 : 3 * width // 4] = 1
    return (labels * 255).expand(3, -1, -1).contiguous(), labels


@pytest.mark.parametrize("jitter", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(64, 96), (120, 80), (333, 500)])
def test_labels_follow_the_pixels(jitter: bool, flip: bool, size: tuple[int, int]) -> None:
    image, labels = halves(*size)
    transform = LabelMapTransform(PAD, jitter, flip, (48, 56) if jitter else PAD.canvas)
    for seed in range(20):
        torch.manual_seed(seed)
        seen, found = transform(image, labels)
        assert found.shape == seen.shape[1:] == (transform.crop if jitter else PAD.canvas)
        valid = found != IGNORE
        grey = seen[0].float()
        # what is clearly white or black has the label of that, but for edges, which may move by half a pixel
        edges = torch.from_numpy(binary_dilation(boundaries(found.numpy())))
        clear = valid & ((grey > 200) | (grey < 60)) & ~edges
        assert ((grey > 140) == (found == 1))[clear].all()
        assert clear.float().mean() > 0.5 * valid.float().mean()
        assert (grey[~valid] - 127.5).abs().max() < 30 if (~valid).any() else True


def test_a_decoded_image_that_was_made_smaller_keeps_its_label_map() -> None:
    image, labels = halves(200, 300)
    smaller = torch.nn.functional.interpolate(image[None].float(), (100, 150), mode="area")[0].byte()
    _, found = LabelMapTransform(PAD, False, False, PAD.canvas)(smaller, labels)
    _, expected = LabelMapTransform(PAD, False, False, PAD.canvas)(image, labels)
    assert torch.equal(found, expected)


def test_a_mirrored_image_has_the_mirrored_label_map() -> None:
    image, labels = halves(64, 96)
    flipped = LabelMapTransform(PAD, False, True, PAD.canvas)
    seen = []
    for seed in range(8):
        torch.manual_seed(seed)
        seen.append(flipped(image, labels))
    plain = LabelMapTransform(PAD, False, False, PAD.canvas)(image, labels)
    mirrored = [not torch.equal(one[1], plain[1]) for one in seen]
    assert any(mirrored)
    assert not all(mirrored)
    for one, is_mirrored in zip(seen, mirrored, strict=True):
        expected = (plain[0].flip(-1), plain[1].flip(-1)) if is_mirrored else plain
        assert torch.equal(one[0], expected[0])
        assert torch.equal(one[1], expected[1])


def test_a_windows_labels_are_pillows_nearest() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (37, 53)).astype(np.uint8)
    window = Window(74, 106, 10, -3)
    found = window.of_masks(torch.from_numpy(labels), (40, 50), outside=IGNORE).numpy()
    resized = np.asarray(Image.fromarray(labels).resize((106, 74), Image.Resampling.NEAREST))
    assert (found[:, 3:] == resized[10:50, :47]).all()
    assert (found[:, :3] == IGNORE).all()


@pytest.mark.parametrize("size", [(64, 96), (128, 96), (31, 97), (640, 480)])
def test_scores_of_the_input_come_back_to_the_pixels_of_the_image(size: tuple[int, int]) -> None:
    """A network that answered with the image itself: the rectangle is where it was, but for its blurred edges."""
    image, labels = halves(*size)
    white = PAD.fitted(image)[0].float() / 255
    logits = torch.stack([1 - white, white])
    found = label_map(logits, PAD, size)
    assert found.dtype == torch.uint8
    assert (found != labels).float().mean() < 0.03
    assert thumbnails(logits[None]).shape == (1, *PAD.canvas)


@pytest.mark.parametrize("size", [(64, 96), (201, 300), (17, 23), (64, 40)])
def test_classes_and_confidences_are_those_of_torchs_interpolation(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some rows at a time."""
    monkeypatch.setattr("skipway.tasks.segment.label_maps.BAND", 5000)
    squash = replace(PAD, fit="squash")
    logits = 3 * torch.randn(4, *PAD.canvas)
    expected = interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(confidences(logits, squash, size), expected.softmax(0).amax(0))
    best = expected.topk(2, dim=0).values
    sure = best[0] - best[1] > 1e-4
    assert torch.equal(label_map(logits, squash, size)[sure], expected.argmax(0).to(torch.uint8)[sure])
    assert sure.float().mean() > 0.99


def test_a_thumbnail_is_every_nth_label_of_the_input() -> None:
    labels = torch.from_numpy(np.kron(np.random.default_rng(0).integers(0, 3, (300, 400)), np.ones((2, 2), int)))
    logits = torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()
    small = thumbnails(logits[None])[0]
    assert small.shape == (240, 320)
    rows, columns = ((np.arange(240) + 0.5) * 2.5).astype(int), ((np.arange(320) + 0.5) * 2.5).astype(int)
    assert np.array_equal(small.numpy(), labels.numpy()[rows][:, columns])


def test_label_maps_of_a_split_are_filled_up_with_ignored_pixels(tmp_path: Path) -> None:
    maps = [np.zeros((3, 5), np.uint8), np.ones((4, 2), np.uint8)]
    found = from_label_maps(maps, 2).tensor()
    assert found.labels.shape == (2, 4, 5)
    assert found.sizes.tolist() == [[3, 5], [4, 2]]
    assert (found.labels[1, :, 2:] == IGNORE).all()
    assert found.labels[1, :, :2].tolist() == maps[1].tolist()
