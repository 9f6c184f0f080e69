"""What every detector promises: names, numbers of parameters, outputs and losses."""

import pytest
import torch
import torchvision
from models.detection import theirs
from models.detection.theirs import images, objects, with_distinct_scores
from torch import Tensor
from twins import parameters, shaken

from skipway import models
from skipway.errors import SkipwayError, UnknownNameError
from skipway.models import DETECTORS, create_detector, is_detector, list_detectors
from skipway.models.base import Network
from skipway.models.detection.backbone import dense_pyramid
from skipway.models.detection.base import Backbone, Detector, Objects

# torchvision's published numbers; those of version 1 leave out batch normalisation, which is frozen there
FROZEN = sum(
    p.numel()
    for m in torchvision.models.resnet50().modules()
    if "BatchNorm" in type(m).__name__
    for p in m.parameters()
)
PUBLISHED = {
    "fcos_resnet50": (91, 32_269_600 + FROZEN),
    "retinanet_resnet50": (91, 34_014_999 + FROZEN),
    "retinanet_resnet50_v2": (91, 38_198_935),
    "fasterrcnn_resnet50": (90, 41_755_286 + FROZEN),
    "fasterrcnn_resnet50_v2": (90, 43_712_278),
    "maskrcnn_resnet50": (90, 44_401_393 + FROZEN),
    "maskrcnn_resnet50_v2": (90, 46_359_409),
}


def on_meta(name: str, classes: int = 3, channels: int = 3) -> Detector:
    with torch.device("meta"):
        return create_detector(name, classes, channels)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_names_and_shapes_are_torchvisions(name: str) -> None:
    classes, wanted = PUBLISHED[name]
    net = on_meta(name, classes)
    assert parameters(net) == wanted
    with torch.device("meta"):
        builder = name.replace("resnet50", "resnet50_fpn")
        their = torchvision.models.get_model(builder, weights=None, weights_backbone=None, num_classes=91)
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in their.state_dict().items()}


def test_the_light_head_is_a_third_smaller() -> None:
    assert parameters(on_meta("fcos_resnet18")) == 19_100_232
    assert parameters(on_meta("fcos_resnet18_light")) == 12_630_088


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_is_as_described(name: str) -> None:
    net = on_meta(name, classes=7, channels=4)
    assert net.classes == 7
    assert net.get_submodule(net.first).in_channels == 4
    assert net.smallest == 32
    assert next(iter(net.named_children()))[0] == "backbone"
    assert net.nms_threshold == models.nms_threshold(name)
    assert ("mask_head" in str(net.heads) or "mask" in str(net.heads)) == models.has_masks(name)
    assert {head.split(".")[0] for head in net.heads} == {list(net._modules)[-1]}
    own, other = (on_meta(name, classes).state_dict() for classes in (7, 9))
    changed = {key.rsplit(".", 1)[0] for key in own if own[key].shape != other[key].shape}
    assert changed == set(net.heads), "the heads are the layers that depend on the number of classes"


@pytest.mark.parametrize("name", ["fcos_resnet50", "fasterrcnn_resnet18", "fasterrcnn_resnet101_c4"])
def test_maps_are_as_described(name: str) -> None:
    net, x = on_meta(name), torch.empty(2, 3, 160, 224, device="meta")
    maps = net.features(x)
    assert [m.shape[1] for m in maps] == net.channels
    assert [m.shape[2:] for m in maps] == [(-(-160 // s), -(-224 // s)) for s in net.strides]
    with pytest.raises(SkipwayError, match="the smallest is 32"):
        net.features(x[:, :, :31])
    with pytest.raises(NotImplementedError):
        net.classify(maps[-1])


@pytest.mark.parametrize("body", ["preresnet18", "densenet121", "seresnet18", "resnet34d", "resnext50_32x4d"])
def test_any_network_with_a_pyramid_is_a_body(body: str) -> None:
    with torch.device("meta"):
        pyramid = dense_pyramid(models.build(body), 64)
    maps = pyramid(torch.empty(1, 3, 128, 128, device="meta"))
    assert [m.shape for m in maps.values()] == [(1, 64, side, side) for side in (16, 8, 4, 2, 1)]
    assert not any(key.startswith(("body.fc", "body.classifier")) for key in pyramid.state_dict())


def test_a_body_without_the_strides_is_refused_with_those_it_has() -> None:
    with pytest.raises(SkipwayError, match=r"maps of strides \[1, 2, 4\], but this detector needs 8"):
        dense_pyramid(models.build("resnet20"), 64)


def test_the_second_retinanet_takes_p6_from_the_body_also_where_the_channels_are_equal() -> None:
    """resnet18d_x0_5 ends with the pyramid's 256 channels."""
    with torch.device("meta"):
        net = create_detector("retinanet_resnet18d_x0_5_v2", 2)
    seen: list[int] = []
    net.backbone.fpn.extra_blocks.p6.register_forward_pre_hook(lambda _, inputs: seen.append(id(inputs[0])))
    maps: list[int] = []
    net.backbone.body.layer4.register_forward_hook(lambda _, __, output: maps.append(id(output)))
    net.features(torch.empty(1, 3, 64, 64, device="meta"))
    assert seen == maps


def test_the_stages_of_a_body_can_be_recomputed_with_equal_gradients() -> None:
    torch.manual_seed(0)
    net = create_detector("fcos_resnet18d_x0_5_light", 2).train()
    x, targets = images(2, 64, 96), objects((2, 1))
    targets = Objects(targets.boxes / 3, targets.labels.clamp(max=1))

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(sum(net(x, targets).values()), list(net.parameters())))

    before = gradients()
    assert net.save_memory()
    for ours, wanted in zip(gradients(), before, strict=True):
        torch.testing.assert_close(ours, wanted)


# ---------------------------------------------------------------------------------------------------------------------
# Images without objects, and images beside others

SMALL = ["fcos_resnet18d_x0_5_light", "retinanet_resnet18d_x0_5", "fasterrcnn_resnet18d_x0_5"]


@pytest.mark.parametrize("name", [*SMALL, "maskrcnn_resnet18d_x0_5_v2"])
def test_a_batch_of_images_without_objects_learns_and_stays_finite(name: str) -> None:
    torch.manual_seed(0)
    net = create_detector(name, 3).train()
    if "rcnn" in name:
        net.roi_heads.fg_bg_sampler.batch_size_per_image = 16
    nothing = Objects(torch.zeros(2, 1, 4), torch.full((2, 1), -1), torch.zeros(2, 1, 64, 96, dtype=torch.uint8))
    losses = net(images(2, 64, 96), nothing)
    sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    assert float(net.get_submodule(net.heads[0]).weight.grad.abs().max()) > 0


@pytest.mark.parametrize("name", SMALL)
def test_an_image_has_the_same_detections_beside_others(name: str) -> None:
    torch.manual_seed(0)
    net = create_detector(name, 3).eval()
    first, others = images(1, 96, 128), images(3, 96, 128)[1:] * 3
    if "rcnn" not in name:
        with_distinct_scores(shaken(net), first)
    with torch.no_grad():
        alone, beside = net(first), net(torch.cat([others, first]))
    for one, other in zip(alone, beside, strict=True):
        same = torch.isclose(one[0].float(), other[-1].float(), rtol=1e-4, atol=1e-3)
        assert same.float().mean() > 0.99, "two candidates of nearly equal scores may change places, no more"


@pytest.mark.parametrize("name", SMALL)
def test_boxes_and_scores_are_float32_where_convolutions_are_not(name: str) -> None:
    """In bfloat16 the corners of a box at 300 pixels would be two pixels apart."""
    net = create_detector(name, 3).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        detections = net(images(1, 64, 96))
        assert net.backbone.body.features(images(1, 64, 96))[-1].dtype == torch.bfloat16
    assert detections.boxes.dtype == detections.scores.dtype == torch.float32


def test_padding_of_the_objects_changes_no_loss() -> None:
    torch.manual_seed(0)
    net = create_detector("fcos_resnet18d_x0_5_light", theirs.CLASSES).eval()
    x, few = images(), objects((3, 3))
    many = Objects(torch.cat([torch.zeros(2, 5, 4), few.boxes], 1), torch.cat([torch.full((2, 5), -1), few.labels], 1))
    with torch.no_grad():
        assert {k: float(v) for k, v in net(x, few).items()} == {k: float(v) for k, v in net(x, many).items()}


# ---------------------------------------------------------------------------------------------------------------------
# Names


def test_names_are_listed_by_pattern_and_are_no_classifiers() -> None:
    assert list_detectors("fcos_resnet18*") == [
        "fcos_resnet18",
        "fcos_resnet18d_x0_5",
        "fcos_resnet18_light",
        "fcos_resnet18d_x0_5_light",
    ]
    assert not set(DETECTORS) & set(models.NETWORKS)
    assert is_detector("maskrcnn_resnet50_v2")
    assert not is_detector("resnet50")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown detector 'fcos_resnet5': did you mean 'fcos_resnet50'"):
        create_detector("fcos_resnet5", 2)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (2, 0)])
def test_numbers_out_of_range_are_refused(classes: int, channels: int) -> None:
    with pytest.raises(SkipwayError, match="at least 1 is needed"):
        create_detector("fcos_resnet18", classes, channels)


def test_the_interface_is_whole() -> None:
    assert issubclass(Detector, Network)
    assert not issubclass(Backbone, Network)
