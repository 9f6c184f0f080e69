"""Dense networks against the papers' counts and themselves with less memory."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import on_meta, parameters, shaken

from skipway.errors import SkipwayError
from skipway.models import build, densenet
from skipway.models.densenet import Dense, DenseBottleneck, DenseNet, small_stem

# torchvision's published counts; for the CIFAR nets the formula below.
COUNTS = {
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet40_12": 1_019_722,
    "densenet100_12_bc": 769_162,
}


def small(layer: type = DenseBottleneck, depth: int = 4) -> DenseNet:
    """Two blocks of `depth` layers."""
    return shaken(DenseNet(layer, 4, (depth, depth), 8, 0.5, small_stem, 5, 3))


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_published_one_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(densenet.NETWORKS)


def test_the_plain_cifar_net_counts_what_section_3_says() -> None:
    k, c, total = 12, 16, 3 * 16 * 9
    for block in range(3):
        for _ in range((40 - 4) // 3):
            total += 2 * c + c * k * 9
            c += k
        if block < 2:
            total += 2 * c + c * c
    total += 2 * c + 10 * c + 10
    assert parameters(on_meta("densenet40_12")) == total
    assert total / 1e6 == pytest.approx(1.0, abs=0.05)


def test_the_bottlenecked_cifar_net_counts_what_section_3_says() -> None:
    k, c, total = 12, 24, 3 * 24 * 9
    for block in range(3):
        for _ in range((100 - 4) // 6):
            total += 2 * c + c * 4 * k + 2 * 4 * k + 4 * k * k * 9
            c += k
        if block < 2:
            total += 2 * c + c * (c // 2)
            c //= 2
    total += 2 * c + 10 * c + 10
    assert parameters(on_meta("densenet100_12_bc")) == total
    assert total / 1e6 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("name", "depth"), [("densenet40_12", 40), ("densenet100_12_bc", 100), ("densenet121", 121)])
def test_the_depth_in_the_name_counts_the_layers_that_learn(name: str, depth: int) -> None:
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in on_meta(name).modules()) == depth


@pytest.mark.parametrize("layer", [Dense, DenseBottleneck])
def test_a_dense_layer_is_the_published_sequence(layer: type) -> None:
    net = shaken(layer(6, 3)).eval()
    maps = [torch.randn(2, c, 5, 5) for c in (3, 2, 1)]

    def activated(y: Tensor, m: nn.BatchNorm2d) -> Tensor:
        mean, var, weight, bias = (t.view(1, -1, 1, 1) for t in (m.running_mean, m.running_var, m.weight, m.bias))
        return ((y - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)

    with torch.no_grad():
        y = activated(torch.cat(maps, 1), net.norm1)
        if layer is Dense:
            y = F.conv2d(y, net.conv1.weight, padding=1)
        else:
            y = F.conv2d(activated(F.conv2d(y, net.conv1.weight), net.norm2), net.conv2.weight, padding=1)
        torch.testing.assert_close(net(maps), y, rtol=1e-4, atol=1e-5)
    assert y.shape == (2, 3, 5, 5)


def test_a_block_passes_on_what_it_was_given_and_every_layers_maps() -> None:
    net = small().eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = net.features.conv0(x)
        out = net.features(x)[0]
        first = net.features.denseblock1.denselayer1([before])
        second = net.features.denseblock1.denselayer2([before, first])
    assert torch.equal(out[:, :8], before)
    assert torch.equal(out[:, 8:12], first)
    assert torch.equal(out[:, 12:16], second)


@pytest.mark.parametrize("layer", [Dense, DenseBottleneck])
def test_saved_memory_changes_no_output_gradient_or_statistic(layer: type) -> None:
    plain = small(layer).double().train()
    saving = copy.deepcopy(plain)
    saving.save_memory()
    assert list(saving.state_dict()) == list(plain.state_dict())
    results = []
    for net in (plain, saving):
        optimiser = torch.optim.SGD(net.parameters(), 0.1)
        torch.manual_seed(1)
        for _ in range(2):
            optimiser.zero_grad()
            x = torch.randn(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)
            scores = net(x)
            F.cross_entropy(scores, torch.tensor([0, 1, 2])).backward()
            optimiser.step()
        results.append((scores.detach(), x.grad, [p.grad for p in net.parameters()], net.state_dict()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    assert all(v == 3 + 2 for k, v in saving.state_dict().items() if k.endswith("num_batches_tracked")), "two steps"
    assert all(m.track_running_stats for m in saving.modules() if isinstance(m, nn.BatchNorm2d))


def test_saved_memory_changes_nothing_in_evaluation() -> None:
    net = small().eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = net(x)
        net.save_memory()
        assert torch.equal(net(x), before)
    torch.testing.assert_close(net(x).detach(), before)


def test_saved_memory_grows_with_the_depth_and_not_with_its_square() -> None:
    def kept(depth: int, saving: bool) -> int:
        """Bytes that a forward pass keeps for the backward pass beside the weights."""
        net = small(depth=depth).train()
        if saving:
            net.save_memory()
        held = {p.untyped_storage().data_ptr() for p in net.parameters()}
        sizes: dict[int, int] = {}

        def note(t: Tensor) -> Tensor:
            if t.untyped_storage().data_ptr() not in held:
                sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            scores = net(torch.randn(2, 3, 16, 16))
        assert scores.requires_grad
        return sum(sizes.values())

    assert kept(16, saving=True) < 0.5 * kept(16, saving=False)
    assert kept(16, saving=True) / kept(8, saving=True) < 2.3
    assert kept(16, saving=False) / kept(8, saving=False) > 2.7


@pytest.mark.parametrize("name", COUNTS)
def test_channels_and_strides_describe_the_maps(name: str) -> None:
    net = on_meta(name).eval()
    size = 4 * net.strides[-1]
    maps = net.features(torch.empty(2, 3, size, size, device="meta"))
    expected = [(2, c, size // s, size // s) for c, s in zip(net.channels, net.strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected


@pytest.mark.parametrize("name", COUNTS)
def test_the_smallest_image_works_and_a_smaller_one_is_refused_with_that_number(name: str) -> None:
    net = on_meta(name, classes=4)
    side = net.smallest
    x = torch.empty(2, 3, side, side, device="meta")
    assert net.eval()(x).shape == (2, 4)
    assert net.features(x)[-1].shape[2:] == (1, 1)
    assert net(torch.empty(2, 3, side + 5, side + 18, device="meta")).shape == (2, 4)
    for shape in ((side - 1, side), (side, side - 1)):
        with pytest.raises(SkipwayError, match=rf"{side - 1} pixels.*smallest is {side}") as caught:
            net.features(torch.empty(2, 3, *shape, device="meta"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "size"), [("densenet40_12", 32), ("densenet121", 64)])
def test_the_first_loss_is_that_of_a_guess(name: str, size: int) -> None:
    net = build(name, classes=10).train()
    with torch.no_grad():
        outputs = net(torch.randn(8, 3, size, size))
    for scores in (outputs,):
        assert F.cross_entropy(scores, torch.arange(8)).item() == pytest.approx(math.log(10), rel=0.08)
