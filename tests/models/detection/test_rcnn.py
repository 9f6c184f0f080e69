"""Faster and Mask R-CNN against torchvision's, at equal weights, inputs, objects and random draws."""

import pytest
import torch
from models.detection import theirs
from models.detection.theirs import HEIGHT, WIDTH, as_theirs, images, listed, objects
from torch import Tensor, nn

from skipway.errors import SkipwayError
from skipway.models import create_detector
from skipway.models.detection.base import Detector, MaskDetections, Objects
from skipway.models.detection.rcnn import DETECTIONS
from skipway.models.resnet import zero_last_scale

NAMES = ["fasterrcnn_resnet18", "fasterrcnn_resnet18_v2", "maskrcnn_resnet18", "maskrcnn_resnet18_v2"]
SIZES = [(HEIGHT, WIDTH)] * 2


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> tuple[Detector, nn.Module]:
    """Ours and torchvision's, whose state dict is loaded strictly, with few proposals, so that tests are fast."""
    their, net = theirs.build(request.param), create_detector(request.param, theirs.CLASSES)
    net.load_state_dict(their.state_dict())
    for each in (net, their):
        each.rpn._post_nms_top_n = {"training": 60, "testing": 40}
        each.roi_heads.fg_bg_sampler.batch_size_per_image = 24
        each.roi_heads.score_thresh = 0.0
    return net.eval(), their


def run_theirs(their: nn.Module, batch: Tensor, targets: list[dict[str, Tensor]] | None) -> tuple[list, dict]:
    maps = their.backbone(batch)
    boxes, losses = their.rpn(listed(batch), maps, targets)
    found, more = their.roi_heads(maps, boxes, [tuple(batch.shape[-2:])] * len(batch), targets)
    return found, losses | more


def test_detections_are_torchvisions_with_classes_from_zero(pair: tuple[Detector, nn.Module]) -> None:
    net, their = pair
    with torch.no_grad():
        ours, (wanted, _) = net(images()), run_theirs(their, images(), None)
    for i, one in enumerate(wanted):
        count = len(one["scores"])
        assert count > 5
        torch.testing.assert_close(ours.boxes[i, :count], one["boxes"])
        torch.testing.assert_close(ours.scores[i, :count], one["scores"])
        assert torch.equal(ours.labels[i, :count], one["labels"] - 1)
        assert not ours.scores[i, count:].any()
        if isinstance(ours, MaskDetections):
            torch.testing.assert_close(ours.masks[i, :count], one["masks"][:, 0])
    assert [part.shape[:2] for part in ours] == [(2, DETECTIONS)] * len(ours)
    assert ours.labels.min() >= 0


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (1, 30)])
def test_losses_and_their_gradients_are_torchvisions(pair: tuple[Detector, nn.Module], counts: tuple[int, ...]) -> None:
    net, their = pair
    batch, targets = images(), objects(counts, masks=hasattr(their.roi_heads.mask_head, "parameters"))
    found = []
    for each in (net, their):
        each.train()
        each.backbone.eval()  # equal statistics in both
        torch.manual_seed(5)
        losses = net(batch, targets) if each is net else run_theirs(their, batch, as_theirs(targets, 1))[1]
        last = each.backbone.fpn.layer_blocks[0][0].weight
        found.append((losses, torch.autograd.grad(sum(losses.values()), [last, each.rpn.head.cls_logits.weight])))
        each.eval()
    (ours, ours_back), (wanted, wanted_back) = found
    assert ours.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-6)
    for mine, other in zip(ours_back, wanted_back, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_images_without_detections_give_padding_alone() -> None:
    net = create_detector("maskrcnn_resnet18d_x0_5", 2).eval()
    net.roi_heads.score_thresh = 1.0
    net.rpn._post_nms_top_n["testing"] = 5
    with torch.no_grad():
        boxes, scores, labels, masks = net(images(1, 64, 96))
    assert boxes.shape == (1, DETECTIONS, 4)
    assert masks.shape == (1, DETECTIONS, 28, 28)
    assert not any(part.any() for part in (boxes, scores, labels, masks))


def test_masks_are_needed_to_learn_masks() -> None:
    net = create_detector("maskrcnn_resnet18d_x0_5", 2).train()
    with pytest.raises(SkipwayError, match="boxes alone: choose another detector"):
        net(images(1, 64, 96), Objects(torch.tensor([[[1.0, 1.0, 30.0, 30.0]]]), torch.tensor([[0]])))


def test_the_papers_detector_shares_four_stages_and_gives_each_proposal_the_fifth() -> None:
    net = create_detector("fasterrcnn_resnet101_c4", 2).eval()
    net.rpn._post_nms_top_n["testing"] = 4
    zero_last_scale(net)  # with untrained statistics 33 units would leave no finite number
    seen: dict[str, list[torch.Size]] = {}
    for stage in ("layer3", "layer4"):

        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, stage: str = stage) -> None:
            seen.setdefault(stage, []).append(output.shape)

        net.backbone.body.get_submodule(stage).register_forward_hook(note)
    with torch.no_grad():
        net(images(1, 64, 96))
    assert seen == {"layer3": [(1, 1024, 4, 6)], "layer4": [(4, 2048, 7, 7)]}
    assert net.strides == [16]
    names = list(net.state_dict())
    assert sum(".layer4." in name for name in names) == sum("layer4" in name for name in names) > 0
    assert len(names) == len(set(names))
    assert {name.split(".")[1] for name in names if name.startswith("roi_heads")} == {"box_predictor"}
