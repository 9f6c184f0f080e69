"""Heat: Grad-CAM against class activation maps, occlusion against a plain loop, both against planted objects."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tv
from torch import Tensor, nn
from twins import shaken

from skipway.attribution.gradcam import grad_cam, occlusion, scaled
from skipway.models import build, recompute
from skipway.models.base import Network
from skipway.models.resnet import Basic, ResNet, shortcut_a, small_stem

AVERAGED = ("resnet20", "preresnet20", "densenet40_12", "wrn40_4", "googlenet", "resnet18d", "seresnet18")
SMALL = {"stem": "small"}
BATCH = 16  # covered images at once


def softmax(scores: Tensor) -> Tensor:
    return scores.softmax(1)


def slim(name: str) -> Network:
    """VGG or AlexNet with 8 numbers where it has 4,096, so that it is made at once."""
    with torch.device("meta"):
        net = build(name, classes=5)
        places = {key: part for key, part in net.named_modules() if isinstance(part, nn.Linear)}
        sizes = [next(iter(places.values())).in_features, 8, 8, 5]
        for place, (c_in, c_out) in zip(places, itertools.pairwise(sizes), strict=True):
            net.set_submodule(place, nn.Linear(c_in, c_out))
    return net.to_empty(device="cpu")


def made(name: str) -> Network:
    """The network with numbers of its own everywhere, in evaluation mode."""
    options = SMALL if name.startswith(("resnet18", "seresnet18", "resnext")) else {}
    net = slim(name) if name in ("vgg11", "alexnet") else build(name, classes=5, **options)
    return shaken(net).eval()


# ---------------------------------------------------------------------------------------------------------------------
# Grad-CAM


@pytest.mark.parametrize("name", AVERAGED)
def test_where_the_last_map_is_averaged_grad_cam_is_the_class_activation_map(name: str) -> None:
    net, images = made(name), torch.randn(4, 3, 64, 48)
    head = net.get_submodule(net.heads[0])
    with torch.no_grad():
        head.bias.zero_()
        targets = net(images).argmax(1)  # a score above 0, so that something speaks for the class
        last = net.features(images)[-1].numpy()
    weights = head.weight.detach().numpy()[targets]
    cam = np.maximum(np.einsum("nk,nkhw->nhw", weights, last), 0)  # Zhou 2016, equation 2, and its positive part
    large = tv.resize(torch.from_numpy(cam), [64, 48], antialias=False).numpy()
    expected = large / large.max((1, 2), keepdims=True)
    found = grad_cam(net, images, targets)
    assert found.shape == (4, 64, 48)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4)


class Known(Network):
    """Two maps, the image's two channels; class 0 is the first less half the second, squared where it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[1.0, -0.5], [-1.0, -1.0]]))

    def features(self, x: Tensor) -> list[Tensor]:
        return [x.clone()]

    def classify(self, last: Tensor) -> Tensor:
        return self.fc((last**2).mean((2, 3)))


def test_a_network_that_is_not_linear_is_weighed_by_its_gradients_by_hand() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[4.0, 1.0], [1.0, 2.0]]]])
    # the mean gradients of w * mean(a * a) are w * mean(a) / 2: 1 * 2.5 / 2 = 1.25 and -0.5 * 2 / 2 = -0.5
    by_hand = np.maximum(1.25 * image[0, 0].numpy() - 0.5 * image[0, 1].numpy(), 0)
    found = grad_cam(Known(), image, torch.tensor([0]))
    np.testing.assert_allclose(found[0].numpy(), by_hand / by_hand.max(), rtol=1e-6)


def test_where_nothing_speaks_for_the_class_the_heat_is_zero_and_not_undefined() -> None:
    image = torch.rand(1, 2, 3, 3)
    assert torch.equal(grad_cam(Known(), image, torch.tensor([1])), torch.zeros(1, 3, 3))


def test_scaling_keeps_the_order_and_ends_at_one() -> None:
    heat = torch.tensor([[[-1.0, 2.0], [4.0, 0.0]], [[-3.0, -1.0], [-2.0, 0.0]]])
    assert scaled(heat).tolist() == [[[0.0, 0.5], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]


FAMILIES = (
    *("resnet20", "plain20", "resnext50_32x4d", "resnet18_blur", "resnet18d", "seresnet18", "preresnet20", "wrn40_4"),
    *("highway19", "densenet40_12", "googlenet", "vgg11", "alexnet"),
)


def everything(net: nn.Module) -> tuple[object, ...]:
    """What of a network could be left changed, besides its numbers."""
    modules = list(net.modules())
    return (
        [m.training for m in modules],
        [p.requires_grad for p in net.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules],
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_explained_and_left_as_it_was(name: str) -> None:
    net = made(name)
    recompute(net)
    net.train()
    next(m for m in net.modules() if not list(m.children())).eval()  # one part frozen, as in finetuning
    parameters = list(net.parameters())
    parameters[0].requires_grad_(False)
    for p in parameters:
        p.grad = torch.ones_like(p)
    before, numbers = everything(net), {key: value.clone() for key, value in net.state_dict().items()}
    side = max(net.smallest, 32)
    images, targets = torch.randn(2, 3, side, side), torch.tensor([1, 3])
    found = grad_cam(net, images, targets)
    occlusion(net, images[0], 1, softmax, BATCH, patch=side, step=side)
    assert everything(net) == before
    assert all(bool((p.grad == 1).all()) for p in parameters)
    assert all(torch.equal(value, numbers[key]) for key, value in net.state_dict().items())
    assert (found.shape, found.dtype, found.requires_grad) == ((2, side, side), torch.float32, False)
    assert found.min() >= 0
    assert all(top in (0, 1) for top in found.amax((1, 2)).tolist())
    with torch.inference_mode():
        again = grad_cam(net.eval(), images, targets)
    torch.testing.assert_close(found, again)


def test_an_images_heat_does_not_depend_on_its_companions() -> None:
    net, images, targets = made("resnet20"), torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    together = grad_cam(net, images, targets)
    for i in range(4):
        torch.testing.assert_close(grad_cam(net, images[i : i + 1], targets[i : i + 1])[0], together[i])


# ---------------------------------------------------------------------------------------------------------------------
# Occlusion


def by_a_plain_loop(net: nn.Module, image: Tensor, target: int, patch: int, step: int) -> np.ndarray:
    """Every patch by itself, and every pixel's mean over those above it."""

    def probability(x: Tensor) -> float:
        with torch.no_grad():
            values = net(x[None])[0].double().numpy()
        return float(np.exp(values[target]) / np.exp(values).sum())

    height, width = image.shape[1:]
    whole = probability(image)
    falls: list[list[list[float]]] = [[[] for _ in range(width)] for _ in range(height)]
    tops = sorted({*range(0, height - patch + 1, step), height - patch})
    lefts = sorted({*range(0, width - patch + 1, step), width - patch})
    for top in tops:
        for left in lefts:
            covered = image.clone()
            covered[:, top : top + patch, left : left + patch] = 0
            fall = whole - probability(covered)
            for row in range(top, top + patch):
                for column in range(left, left + patch):
                    falls[row][column].append(fall)
    return np.array([[np.mean(values) for values in row] for row in falls])


@pytest.mark.parametrize(("patch", "step"), [(5, 3), (4, 4), (8, 7)])
def test_occlusion_is_what_a_plain_loop_over_patches_finds(patch: int, step: int) -> None:
    net, image = made("resnet20"), torch.randn(3, 21, 16)
    with torch.no_grad():
        net.fc.weight.mul_(0.3)  # probabilities that are not all 0 or 1
    found = occlusion(net, image, 2, softmax, BATCH, patch, step)
    np.testing.assert_allclose(found.numpy(), by_a_plain_loop(net, image, 2, patch, step), atol=1e-5)
    assert found.abs().max() > 1e-3


def test_patches_are_a_quarter_of_the_image_and_a_quarter_of_that_apart() -> None:
    net, image = made("resnet20"), torch.randn(3, 32, 32)
    assert torch.equal(occlusion(net, image, 0, softmax, BATCH), occlusion(net, image, 0, softmax, BATCH, 8, 2))


# ---------------------------------------------------------------------------------------------------------------------
# A planted object

SIDE, PATCH = 24, 8


def planted(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, np.ndarray]:
    """Noise with a patch somewhere, striped across (class 0) or down (class 1); images, classes, and corners (n, 2)."""
    images = rng.normal(0, 0.5, (count, 1, SIDE, SIDE)).astype(np.float32)
    labels, corners = rng.integers(0, 2, count), rng.integers(0, SIDE - PATCH + 1, (count, 2))
    stripes = np.where(np.arange(PATCH) % 4 < 2, 2.0, -2.0)
    for image, label, (top, left) in zip(images, labels, corners, strict=True):
        across = np.repeat(stripes[:, None], PATCH, axis=1)
        image[0, top : top + PATCH, left : left + PATCH] += across if label == 0 else across.T
    return torch.from_numpy(images), torch.from_numpy(labels), corners


@pytest.fixture(scope="module")
def finder() -> Network:
    """A small network that has learned to tell the patches apart."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = ResNet(Basic, 1, (1, 1, 1), 8, shortcut_a, small_stem, 2, 1)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        images, labels, _ = planted(32, rng)
        loss = F.cross_entropy(net(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def by_grad_cam(net: Network, images: Tensor, labels: Tensor) -> np.ndarray:
    return grad_cam(net, images, labels).numpy()


def by_occlusion(net: Network, images: Tensor, labels: Tensor) -> np.ndarray:
    return np.stack([occlusion(net, x, int(y), softmax, BATCH).numpy() for x, y in zip(images, labels, strict=True)])


@pytest.mark.parametrize("method", [by_grad_cam, by_occlusion])
def test_the_heat_falls_on_the_planted_patch(finder: Network, method: Callable[..., np.ndarray]) -> None:
    images, labels, corners = planted(20, np.random.default_rng(1))
    with torch.no_grad():
        assert (finder(images).argmax(1) == labels).float().mean() >= 0.95
    found = 0
    for heat, (top, left) in zip(method(finder, images, labels), corners, strict=True):
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        found += top <= row < top + PATCH and left <= column < left + PATCH
    assert found >= 17, "a patch is a ninth of the image: chance would find 2 of 20"
