"""The one path from images to scores: the same image, the same digits, whatever it came with."""

import pytest
import torch
from torch import Tensor, nn

from skipway.data.preprocess import Preprocessing, for_photographs
from skipway.models import build
from skipway.tasks.inference import batch_size, predict_batches

CPU = torch.device("cpu")


def images_of(count: int, size: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


@pytest.fixture(scope="module", params=[("resnet20", 32), ("resnet18", 64)], ids=lambda p: p[0])
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Preprocessing]:
    torch.manual_seed(0)
    name, size = request.param
    net = build(name, classes=7)
    with torch.no_grad():  # statistics that are not the defaults, as a trained network has
        net.train()(torch.randn(4, 3, size, size))
    return net, for_photographs(size)


def scored(net: nn.Module, batches: list[Tensor], preprocessing: Preprocessing) -> Tensor:
    return torch.cat([scores for (scores,) in predict_batches(net, batches, preprocessing, CPU)])


def test_an_images_scores_do_not_depend_on_its_place_or_its_companions(case: tuple[nn.Module, Preprocessing]) -> None:
    net, preprocessing = case
    full = batch_size(CPU)
    images, image = images_of(full, preprocessing.size), images_of(1, preprocessing.size)
    alone = scored(net, [image], preprocessing)
    for place in (0, 1, full // 2, full - 1):
        among = images.clone()
        among[place] = image[0]
        assert torch.equal(scored(net, [among], preprocessing)[place], alone[0]), place
    assert torch.equal(scored(net, [images[:3], torch.cat([images[:2], image])], preprocessing)[5], alone[0])
    twice = scored(net, [torch.cat([image, images[:4], image])], preprocessing)
    assert torch.equal(twice[0], twice[5])


def test_the_scores_are_those_of_the_network_in_evaluation_mode(case: tuple[nn.Module, Preprocessing]) -> None:
    net, preprocessing = case
    images = images_of(5, preprocessing.size)
    found = scored(net.train(), [images[:3], images[3:]], preprocessing)
    assert not any(module.training for module in net.modules()), "and the network is left in it"
    with torch.no_grad():
        expected = net.double()(preprocessing.normalised(images).double())
    net.float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_each_batch_is_answered_in_turn_with_as_many_rows(case: tuple[nn.Module, Preprocessing]) -> None:
    net, preprocessing = case
    batches = [images_of(count, preprocessing.size) for count in (2, batch_size(CPU), 1)]
    assert [tuple(s.shape) for (s,) in predict_batches(net, batches, preprocessing, CPU)] == [
        (2, 7),
        (batch_size(CPU), 7),
        (1, 7),
    ]


def test_the_network_always_sees_batches_of_one_size_and_no_gradient() -> None:
    seen: list[tuple[tuple[int, ...], bool]] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((tuple(x.shape), torch.is_grad_enabled()))
            return x.mean((2, 3))

    preprocessing = for_photographs(8)
    list(predict_batches(Watch(), [images_of(1, 8), images_of(5, 8)], preprocessing, CPU))
    assert seen == [((batch_size(CPU), 3, 8, 8), False)] * 2


def test_judging_does_not_change_the_network(case: tuple[nn.Module, Preprocessing]) -> None:
    net, preprocessing = case
    before = {key: value.clone() for key, value in net.state_dict().items()}
    scored(net, [images_of(3, preprocessing.size)], preprocessing)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
