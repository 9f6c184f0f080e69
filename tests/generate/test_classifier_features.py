"""Features, probabilities and class accuracy from a classifier, against plain PyTorch and Pillow."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from skipway import models
from skipway.data.preprocess import Preprocessing
from skipway.download import digest
from skipway.errors import SkipwayError
from skipway.models.pretrained import embedded
from skipway.tasks.generate.classifier_features import ClassifierFeatures, with_channels

CPU = torch.device("cpu")
DIGITS = tuple("0123456789")


def classifier(channels: int = 1, size: int = 8) -> ClassifierFeatures:
    torch.manual_seed(0)
    net = models.build("resnet20", classes=10, channels=channels).eval()
    preprocessing = Preprocessing(channels, size, size, (0.3,) * channels, (0.4,) * channels)
    return ClassifierFeatures("digits", "0123456789abcdef", net, preprocessing, DIGITS, CPU)


def images(n: int, *shape: int) -> Tensor:
    return torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_features_are_the_pooled_last_map_and_probabilities_the_softmax_of_the_scores() -> None:
    ours, some = classifier(), images(16, 1, 8, 8)
    found = ours.outputs(some)
    x = (some.float() / 255 - 0.3) / 0.4
    with torch.no_grad():
        maps, scores = ours.net.features(x)[-1], ours.net(x)
    assert found.features.dtype == found.probabilities.dtype == np.float32
    assert found.features == pytest.approx(maps.flatten(2).mean(2).numpy(), abs=1e-5)
    assert found.probabilities == pytest.approx(torch.softmax(scores, 1).numpy(), abs=1e-5)


def test_an_image_has_the_same_digits_alone_and_among_others() -> None:
    ours, some = classifier(), images(40, 1, 8, 8)
    whole = ours.outputs(some)
    for i in (0, 17, 39):
        alone = ours.outputs(some[i : i + 1])
        assert (alone.features[0] == whole.features[i]).all()
        assert (alone.probabilities[0] == whole.probabilities[i]).all()


def test_the_network_is_not_left_in_training_mode() -> None:
    ours = classifier()
    ours.net.train()
    first, again = (ours.outputs(images(20, 1, 8, 8)).features for _ in range(2))
    assert (first == again).all() and not ours.net.training


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 20, 13), (3, 8, 8), (4, 30, 30)])
def test_images_of_any_size_are_fitted_as_the_classifiers_own(shape: tuple[int, ...]) -> None:
    """As its preprocessing opens the same images from files."""
    ours, some = classifier(), images(3, *shape)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[shape[0]]
    opened = []
    for image in some:
        pixels = Image.fromarray(hwc(image).squeeze())
        assert pixels.mode == mode
        opened.append(ours.preprocessing.open(png(pixels), "image"))
    assert (ours.outputs(some).features == ours.outputs(torch.stack(opened)).features).all()


def hwc(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# Channels


def test_colour_becomes_grey_as_pillow_has_it() -> None:
    some = images(2, 3, 50, 60)
    for image, grey in zip(some, with_channels(some, 1, (0, 0, 0)), strict=True):
        assert (grey[0].numpy() == np.asarray(Image.fromarray(hwc(image)).convert("L"))).all()


def test_every_value_and_alpha_is_blended_with_the_background_as_pillow_does() -> None:
    values, alphas = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    some = torch.stack([values, 255 - values, values // 2, alphas]).to(torch.uint8)[None]
    background = (10, 200, 90)
    below = Image.new("RGBA", (256, 256), (*background, 255))
    expected = np.asarray(Image.alpha_composite(below, Image.fromarray(hwc(some[0]))).convert("RGB"))
    found = hwc(with_channels(some, 3, background)[0])
    assert (found == expected).all()


def test_grey_becomes_colour_and_equal_channels_stay() -> None:
    grey = images(2, 1, 5, 4)
    assert (with_channels(grey, 3, (0, 0, 0)) == grey.repeat(1, 3, 1, 1)).all()
    assert with_channels(grey, 1, (0, 0, 0)) is grey
    four = images(2, 4, 5, 4)
    assert with_channels(four, 4, (0, 0, 0)) is four


@pytest.mark.parametrize(("own", "wanted"), [(2, 3), (5, 1), (3, 4), (1, 4)])
def test_channels_that_cannot_be_converted_are_refused(own: int, wanted: int) -> None:
    with pytest.raises(SkipwayError, match=f"images have {own} channels and the network takes {wanted}: only grey"):
        with_channels(images(1, own, 4, 4), wanted, (0, 0, 0))


def test_images_of_another_type_or_shape_are_refused() -> None:
    for wrong in (images(2, 1, 8, 8).float(), images(1, 8, 8), images(0, 1, 8, 8)):
        with pytest.raises(SkipwayError, match=r"images are torch.*uint8 \(n, C, H, W\) is needed"):
            classifier().outputs(wrong)


# ---------------------------------------------------------------------------------------------------------------------
# Class accuracy


def test_classes_are_matched_by_name() -> None:
    """The generator has some of the classes, in another order."""
    ours = classifier()
    probabilities = np.eye(10, dtype=np.float32)[[7, 7, 3, 0]]
    assert ours.accuracy(probabilities, [0, 0, 1, 1], ["7", "3"]) == 3 / 4
    assert ours.accuracy(probabilities, [0, 0, 1, 1], ["3", "7"]) == 0
    assert ours.labels_of([0, 0, 1], ["7", "3"]).tolist() == [7, 7, 3]


def test_a_class_that_the_classifier_does_not_have_is_refused_where_it_is_asked_for() -> None:
    ours, probabilities = classifier(), np.eye(10, dtype=np.float32)[:2]
    assert ours.accuracy(probabilities, [0, 0], ["0", "zebra"]) == 0.5
    with pytest.raises(SkipwayError) as error:
        ours.accuracy(probabilities, [0, 1], ["0", "zebra"])
    expected = "the classifier digits does not have the class 'zebra': give one that was trained on the same classes"
    assert str(error.value) == expected
    with pytest.raises(SkipwayError, match="'a' and 1 more"):
        ours.accuracy(probabilities, [0, 1], ["a", "b"])


# ---------------------------------------------------------------------------------------------------------------------
# Embedded weights


def test_the_embedded_classifier_is_the_one_in_the_package() -> None:
    ours = ClassifierFeatures.embedded(CPU)
    card = embedded.card()
    assert card is not None
    assert ours.name == "resnet18d_x0_5.embedded" and list(ours.classes) == card["classes"]
    assert ours.checksum == digest(embedded.file(), "sha256")
    assert ours.label == f"resnet18d_x0_5.embedded (weights {ours.checksum[:12]})"
    net = models.build("resnet18d_x0_5", pretrained="embedded", stem="imagenet").eval()
    prepare, some = ours.preprocessing, images(2, 3, 32, 32)
    with torch.no_grad():
        x = prepare.normalised(torch.stack([prepare.fitted(image) for image in some]))
        scores, maps = net(x), net.features(x)[-1]
    found = ours.outputs(some)
    assert found.probabilities == pytest.approx(scores.softmax(1).numpy(), abs=1e-4)
    assert found.features == pytest.approx(maps.mean((2, 3)).numpy(), abs=1e-4)


def test_the_embedded_classifier_takes_grey_images_of_eight_pixels() -> None:
    found = ClassifierFeatures.embedded(CPU).outputs(images(3, 1, 8, 8))
    assert found.features.shape == (3, 256) and found.probabilities.shape == (3, 180)
    assert found.probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_an_installation_without_embedded_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "card", lambda: None)
    with pytest.raises(SkipwayError, match="no embedded weights: give a trained classifier"):
        ClassifierFeatures.embedded(CPU)
