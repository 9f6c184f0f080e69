"""The images that a report shows: which ones, and that they are the ones that the network saw."""

import base64
import io

import numpy as np
import torch
from judged import SIDE, card, judged
from PIL import Image
from torch import Tensor

from skipway.attribution.gradcam import grad_cam
from skipway.data.preprocess import Preprocessing
from skipway.models import build
from skipway.tasks.classify import error_gallery as rooms
from skipway.tasks.classify.error_gallery import explain_with, gallery

SEEN = Preprocessing(**card().preprocessing)


def pixels(uri: str) -> np.ndarray:
    """What a browser makes of a data URI."""
    assert uri.startswith("data:image/webp;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def no_heat(images: Tensor, _: Tensor) -> Tensor:
    return torch.zeros(len(images), *images.shape[-2:])


def test_the_worst_mistakes_are_those_of_the_highest_loss() -> None:
    found = judged(n=200)
    costs = -np.log(found.probabilities[np.arange(200), found.labels])
    wrong = [i for i in np.argsort(-costs, kind="stable") if found.probabilities[i].argmax() != found.labels[i]]
    shown = gallery(found, SEEN, None)
    assert [tile.name for tile in shown.worst] == [found.names[i] for i in wrong[:12]]
    for tile, i in zip(shown.worst, wrong, strict=False):
        assert tile.truth == found.classes[found.labels[i]]
        assert tile.predicted == tile.target == found.classes[found.probabilities[i].argmax()]
        assert tile.probability == found.probabilities[i].max()


def test_the_least_certain_have_their_two_best_classes_closest() -> None:
    found = judged(n=200)
    ranked = np.sort(found.probabilities, axis=1)
    order = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")
    assert [tile.name for tile in gallery(found, SEEN, None).unsure] == [found.names[i] for i in order[:8]]


def test_of_several_labels_the_costliest_is_explained() -> None:
    found = judged(n=200, several=True)
    given = np.where(found.labels > 0, found.probabilities, 1 - found.probabilities)  # of what is true
    means = np.where(found.correct, np.inf, np.log(given).mean(1))
    first = int(means.argmin())
    tile = gallery(found, SEEN, None).worst[0]
    assert tile.name == found.names[first]
    assert tile.target == found.classes[given[first].argmin()]
    for shown, row in ((tile.truth, found.labels[first]), (tile.predicted, found.probabilities[first] > 0.5)):
        assert shown == (", ".join(name for name, there in zip(found.classes, row, strict=True) if there) or "none")


def test_a_picture_is_the_image_with_its_pixels_enlarged() -> None:
    found = judged()
    tile = gallery(found, SEEN, no_heat).worst[0]
    picture = pixels(tile.picture)
    assert picture.shape == (rooms.SIDE, rooms.SIDE, 3)
    image = found.scored.images.items[found.names.index(tile.name)]
    step = rooms.SIDE // SIDE
    middles = picture[step // 2 :: step, step // 2 :: step].astype(int)
    grey = np.array([0.299, 0.587, 0.114])  # WebP keeps brightness finer than colour
    assert np.abs(middles @ grey - image.astype(int) @ grey).mean() < 12


def test_heat_is_that_of_the_class_that_was_said() -> None:
    found = judged()
    net = build("resnet20", classes=3).eval()
    asked: list[tuple[Tensor, int]] = []
    explain = explain_with(net, SEEN, torch.device("cpu"))

    def listening(images: Tensor, targets: Tensor) -> Tensor:
        asked.append((images, int(targets)))
        return explain(images, targets)

    shown = gallery(found, SEEN, listening)
    tiles = [*shown.worst, *shown.unsure]
    assert [found.classes[target] for _, target in asked] == [tile.predicted for tile in tiles]
    for images, target in asked[:3]:
        wanted = torch.tensor([target])
        assert torch.equal(explain(images, wanted), grad_cam(net, SEEN.normalised(images), wanted))
    assert all(pixels(tile.heat or "").shape == (rooms.SIDE, rooms.SIDE, 3) for tile in tiles)


def test_images_of_one_and_of_five_channels_can_be_shown() -> None:
    for channels, wanted in ((1, [0, 0, 0]), (2, [0, 0, 0]), (5, [0, 1, 2])):
        image = torch.arange(channels, dtype=torch.uint8).view(-1, 1, 1).expand(-1, SIDE, SIDE)
        assert rooms.enlarged(image)[0, 0].tolist() == wanted
    large = torch.full((3, 2 * rooms.SIDE, 2 * rooms.SIDE), 7, dtype=torch.uint8)
    assert rooms.enlarged(large).shape == (rooms.SIDE, rooms.SIDE, 3)
