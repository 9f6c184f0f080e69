"""AlexNet against the published count and torchvision's outputs."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from twins import on_meta, parameters, shaken, theirs

from skipway.errors import SkipwayError
from skipway.models import alexnet, build
from skipway.models.analysis.trace import layer_table

COUNTS = {"alexnet": 61_100_840}
MULTIPLY_ADDS = {"alexnet": 0.714}


def narrow(net: nn.Module) -> nn.Module:
    """`net` with small hidden layers and no chance: its size is in those layers, which are compared elsewhere."""
    for i, (c_in, c_out) in zip((1, 4, 6), ((256 * 6 * 6, 32), (32, 16), (16, 7)), strict=True):
        net.classifier[i] = nn.Linear(c_in, c_out)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_published_one_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(alexnet.NETWORKS)


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_the_multiply_adds_are_torchvisions(name: str) -> None:
    total = sum(layer.multiply_adds for layer in layer_table(on_meta(name), (3, 224, 224)))
    assert total / 1e9 == pytest.approx(MULTIPLY_ADDS[name], rel=0.005)


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_torchvisions_weights_load_and_give_torchvisions_scores(name: str) -> None:
    reference = shaken(theirs(name, classes=11).to_empty(device="cpu")).eval()
    ours = on_meta(name, classes=11)
    assert list(ours.state_dict()) == list(reference.state_dict())
    ours.load_state_dict(reference.state_dict(), strict=True, assign=True)
    x = torch.randn(2, 3, 80, 80)
    with torch.inference_mode():
        expected = reference(x)
        tolerance = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(ours.eval()(x), expected, rtol=0, atol=tolerance)
    assert expected.std() > 1e-3, "scores that say nothing would agree whatever the network"


def test_one_training_step_has_torchvisions_loss_gradients_and_statistics() -> None:
    # In float64, where a different order of summation cannot pass for, or hide, a different computation.
    reference = shaken(narrow(theirs("alexnet", 7)).to_empty(device="cpu")).double()
    ours = narrow(on_meta("alexnet")).to_empty(device="cpu").double()
    ours.load_state_dict(reference.state_dict())
    x, y = torch.randn(2, 3, 63, 63, dtype=torch.float64), torch.tensor([1, 5])
    losses = []
    for net in (ours.train(), reference.train()):
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=1e-9)
    expected = dict(reference.named_parameters())
    for key, value in ours.named_parameters():
        torch.testing.assert_close(
            value.grad, expected[key].grad, rtol=1e-6, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}"
        )


def test_dropout_falls_on_the_hidden_layers_with_the_papers_chance() -> None:
    net = on_meta("alexnet")
    reference = torchvision.models.alexnet
    with torch.device("meta"):
        expected = [(n, m.p) for n, m in reference().named_modules() if isinstance(m, nn.Dropout)]
    assert [(n, m.p) for n, m in net.named_modules() if isinstance(m, nn.Dropout)] == expected
    assert {p for _, p in expected} == {0.5}


def test_the_trunk_is_both_the_contracts_method_and_a_child() -> None:
    net = on_meta("alexnet").eval()
    x = torch.empty(2, 3, 64, 64, device="meta")
    assert net.features is net.get_submodule("features")
    assert isinstance(net.features(x), list)
    assert net.get_submodule(net.first) is net.features[0]
    copied = copy.deepcopy(net)
    assert copied.features is not net.features
    assert [m.shape for m in copied.features(x)] == [m.shape for m in net.features(x)]


def test_the_maps_have_torchvisions_sides() -> None:
    net = on_meta("alexnet").eval()
    maps = net.features(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 27, 27), (192, 13, 13), (256, 6, 6)]
    assert net.channels == [64, 192, 256]
    for a, b, stride in zip(maps[:-1], maps[1:], net.strides[1:], strict=True):
        assert (a.shape[2] - 3) // 2 + 1 == b.shape[2], "nothing is padded, so that the sides are not 224 / stride"
        assert abs(b.shape[2] - 224 / stride) <= 1


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


@pytest.mark.parametrize(("name", "size"), [("alexnet", 64)])
def test_the_first_loss_is_that_of_a_guess(name: str, size: int) -> None:
    net = build(name, classes=10).train()
    with torch.no_grad():
        outputs = net(torch.randn(8, 3, size, size))
    for scores in (outputs,):
        assert F.cross_entropy(scores, torch.arange(8)).item() == pytest.approx(math.log(10), rel=0.08)
