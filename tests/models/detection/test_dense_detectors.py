"""FCOS and RetinaNet against torchvision's, at equal weights, inputs and objects."""

import pytest
import torch
from models.detection import theirs
from models.detection.theirs import HEIGHT, WIDTH, as_theirs, images, listed, objects
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.ops import batched_nms

from skipway.models import create_detector
from skipway.models.detection import fcos, retinanet
from skipway.models.detection.base import Detections, Detector, Objects

NAMES = ["fcos_resnet18", "retinanet_resnet18", "retinanet_resnet18_v2"]


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> tuple[Detector, nn.Module]:
    """Ours and torchvision's, whose state dict is loaded strictly."""
    their, net = theirs.build(request.param), create_detector(request.param, theirs.CLASSES)
    net.load_state_dict(their.state_dict())
    return net.eval(), their


def raw_of(net: Detector, batch: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The outputs of our head under torchvision's names, and the maps."""
    maps = net.features(batch)
    logits, boxes, *rest = net.head(maps)
    return {
        "cls_logits": logits,
        "bbox_regression": boxes,
        **({"bbox_ctrness": rest[0][..., None]} if rest else {}),
    }, maps


def ours_of(net: Detector, raw: dict[str, Tensor], maps: list[Tensor], batch: Tensor, targets: Objects) -> dict:
    if isinstance(net, fcos.FCOS):
        outputs = fcos.Raw(raw["cls_logits"], raw["bbox_regression"], raw["bbox_ctrness"][..., 0])
        return fcos.losses_of(outputs, fcos.places_of(maps, batch, net.strides), targets, everywhere=True)
    outputs = retinanet.Raw(raw["cls_logits"], raw["bbox_regression"])
    return retinanet.losses_of(outputs, retinanet.anchors_of(maps, batch), targets, net.giou)


def theirs_of(their: nn.Module, raw: dict[str, Tensor], maps: list[Tensor], batch: Tensor, targets: Objects) -> dict:
    anchors = their.anchor_generator(listed(batch), maps)
    levels = [[m.shape[2] * m.shape[3] for m in maps]] if "bbox_ctrness" in raw else []
    return their.compute_loss(as_theirs(targets), raw, anchors, *levels)


def test_the_heads_outputs_are_torchvisions(pair: tuple[Detector, nn.Module]) -> None:
    net, their = pair
    with torch.no_grad():
        raw, _ = raw_of(net, images())
        wanted = their.head(list(their.backbone(images()).values()))
    for key, value in wanted.items():
        torch.testing.assert_close(raw[key], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (1, 30), (30, 12)])
def test_losses_and_their_gradients_are_torchvisions(pair: tuple[Detector, nn.Module], counts: tuple[int, ...]) -> None:
    net, their = pair
    batch, targets = images(), objects(counts)
    with torch.no_grad():
        raw, maps = raw_of(net, batch)
    found = []
    for losses_of, whose in ((ours_of, net), (theirs_of, their)):
        leaves = {key: value.clone().requires_grad_() for key, value in raw.items()}
        losses = losses_of(whose, leaves, maps, batch, targets)
        gradients = torch.autograd.grad(sum(losses.values()), list(leaves.values()))
        found.append((losses, gradients))
    (ours, ours_back), (wanted, wanted_back) = found
    assert ours.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-6)
    for mine, other in zip(ours_back, wanted_back, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * float(other.abs().max().clamp(min=1)))
    if any(counts):
        assert float(ours["bbox_regression"].detach()) > 0, "boxes must be learned for this to say anything"


def test_detections_after_suppression_are_torchvisions(pair: tuple[Detector, nn.Module]) -> None:
    net, their = pair
    batch = images()
    with torch.no_grad():
        ours: Detections = net(batch)
        raw, maps = raw_of(net, batch)
    # As many candidates as both consider: torchvision takes the best of each level, above a threshold
    their.score_thresh = float(ours.scores[:, 600].max())
    sizes = [len(rows) for rows in theirs_places(their, maps, batch)]
    split = {key: list(value.split(sizes, 1)) for key, value in raw.items()}
    anchors = [list(a.split(sizes)) for a in their.anchor_generator(listed(batch), maps)]
    wanted = their.postprocess_detections(split, anchors, [(HEIGHT, WIDTH)] * len(batch))
    for i, one in enumerate(wanted):
        above = ours.scores[i] > their.score_thresh
        boxes, scores, labels = (part[i][above] for part in ours)
        keep = batched_nms(boxes, scores, labels, net.nms_threshold)[: their.detections_per_img]
        assert len(keep) > 10
        torch.testing.assert_close(boxes[keep], one["boxes"], rtol=0, atol=1e-3)
        torch.testing.assert_close(scores[keep], one["scores"], rtol=1e-5, atol=1e-6)
        assert torch.equal(labels[keep], one["labels"])


def theirs_places(their: nn.Module, maps: list[Tensor], batch: Tensor) -> list[Tensor]:
    """torchvision's anchors of each level."""
    number = their.anchor_generator.num_anchors_per_location()[0]
    return list(their.anchor_generator(listed(batch), maps)[0].split([m.shape[2] * m.shape[3] * number for m in maps]))


@pytest.mark.parametrize("size", [(160, 224), (256, 384), (96, 96), (800, 1344)])
def test_anchors_are_torchvisions_at_any_size(pair: tuple[Detector, nn.Module], size: tuple[int, int]) -> None:
    net, their = pair
    batch = torch.empty(1, 3, *size)
    maps = [torch.empty(1, 1, -(-size[0] // stride), -(-size[1] // stride)) for stride in net.strides]
    wanted = their.anchor_generator(listed(batch), maps)[0]
    if isinstance(net, fcos.FCOS):
        places = fcos.places_of(maps, batch, net.strides)
        torch.testing.assert_close(places.centres, (wanted[:, :2] + wanted[:, 2:]) / 2)
        torch.testing.assert_close(places.sizes, wanted[:, 2] - wanted[:, 0])
    else:
        torch.testing.assert_close(retinanet.anchors_of(maps, batch), wanted)


def test_boxes_are_coded_as_torchvisions_also_where_they_would_be_without_bounds() -> None:
    coder = detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))
    anchors, boxes = (objects((50,), seed=seed).boxes[0] for seed in (6, 7))
    offsets = 6 * torch.randn(50, 4, generator=torch.Generator().manual_seed(8))
    assert float(offsets[:, 2:].max()) > retinanet.MOST
    torch.testing.assert_close(retinanet.decode(offsets, anchors), coder.decode_single(offsets, anchors))
    torch.testing.assert_close(retinanet.encode(boxes, anchors), coder.encode_single(boxes, anchors))


def test_of_two_boxes_over_a_place_the_smaller_is_learned_and_of_equal_ones_the_first() -> None:
    maps = [torch.empty(1, 1, 8, 8)]
    places = fcos.places_of(maps, torch.empty(1, 3, 64, 64), [8])
    small, large = [20.0, 20.0, 44.0, 44.0], [16.0, 16.0, 48.0, 48.0]
    targets = Objects(torch.tensor([[large, small, small, small]]), torch.tensor([[0, -1, 1, 2]]))
    rows = fcos.match(places, targets).reshape(8, 8)
    assert int(rows[4, 4]) == 2  # at (32, 32)
    assert set(rows.unique().tolist()) <= {-1, 0, 2}


def test_a_box_without_area_is_learned_by_nothing(pair: tuple[Detector, nn.Module]) -> None:
    net, _ = pair
    empty = Objects(torch.tensor([[[30.0, 30.0, 30.0, 80.0]]]), torch.tensor([[1]]))
    with torch.no_grad():
        ours, nothing = (net(images(1), t) for t in (empty, Objects(empty.boxes, empty.labels - 2)))
    assert {key: float(value) for key, value in ours.items()} == {key: float(value) for key, value in nothing.items()}


def test_the_mean_loss_of_two_processes_is_that_of_one_with_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = create_detector("fcos_resnet18d_x0_5_light", theirs.CLASSES).train()
    net.backbone.eval()
    batch, targets = images(), objects((9, 2))
    whole = net(batch, targets)
    halves = [(batch[i : i + 1], Objects(targets.boxes[i : i + 1], targets.labels[i : i + 1])) for i in (0, 1)]
    with torch.no_grad():
        maps = [net.features(x) for x, _ in halves]
        counts = [
            int((fcos.match(fcos.places_of(m, x, net.strides), t) >= 0).sum())
            for m, (x, t) in zip(maps, halves, strict=True)
        ]
    assert counts[0] != counts[1]
    monkeypatch.setattr(fcos.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(fcos.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(fcos.dist, "all_reduce", lambda count: count.fill_(sum(counts)))
    apart = [net(x, t) for x, t in halves]
    for key, value in whole.items():
        torch.testing.assert_close((apart[0][key] + apart[1][key]) / 2, value, rtol=1e-4, atol=1e-6)


def test_no_other_process_is_asked_outside_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes have batches of different numbers, one would wait for ever."""
    monkeypatch.setattr(fcos.dist, "is_initialized", lambda: True)
    net = create_detector("fcos_resnet18d_x0_5_light", theirs.CLASSES).eval()
    with torch.no_grad():
        assert len(net(images(), objects((1, 2)))) == 3


def test_the_towers_start_with_torchvisions_distribution_and_the_prior() -> None:
    torch.manual_seed(0)
    net, their = create_detector("fcos_resnet18", theirs.CLASSES).head, theirs.fcos().head
    for (name, ours), other in zip(net.state_dict().items(), their.state_dict().values(), strict=True):
        assert ours.std(correction=0) == pytest.approx(float(other.std(correction=0)), rel=0.1), name
        assert ours.mean() == pytest.approx(float(other.mean()), abs=1e-3), name
    assert float(net.classification_head.cls_logits.bias.detach().sigmoid().mean()) == pytest.approx(0.01)
