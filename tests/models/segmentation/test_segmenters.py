"""What every segmenter promises: names, heads, outputs of any size, gradients, recomputation."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway import models
from skipway.commands import summary
from skipway.errors import SkipwayError, UnknownNameError
from skipway.hardware import ShapesOnly
from skipway.models import SEGMENTERS, create_segmenter, is_segmenter, list_segmenters
from skipway.models.base import ModelOutput
from skipway.models.segmentation.base import Segmenter
from skipway.models.stochastic_depth import add_stochastic_depth

SMALL = ["unet_resnet18d_x0_5", "unet_resnet18d_x0_5_light", "fcn_resnet18d_x0_5", "deeplabv3_resnet18d_x0_5"]
SIZES = [(33, 47), (97, 131), (64, 96), (32, 200)]


def on_meta(name: str, classes: int = 3, channels: int = 3) -> Segmenter:
    with ShapesOnly():
        return create_segmenter(name, classes, channels)


def without_dropout(net: Segmenter) -> Segmenter:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def scores_of(net: Segmenter, x: Tensor) -> list[Tensor]:
    out = net(x)
    return [out.scores, *out.auxiliary] if isinstance(out, ModelOutput) else [out]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_segmenter_is_as_described(name: str) -> None:
    net = on_meta(name, classes=7, channels=4)
    assert net.classes == 7
    assert net.get_submodule(net.first).in_channels == 4
    assert net.stages == ()
    assert next(iter(net.named_children()))[0] == "backbone"
    assert models.BODY_OF[name] in name
    assert net.heads[0].split(".")[0] == list(net._modules)[-1]
    own, other = (on_meta(name, classes).state_dict() for classes in (7, 9))
    changed = {key.rsplit(".", 1)[0] for key in own if own[key].shape != other[key].shape}
    assert changed == set(net.heads), "the heads are the layers that depend on the number of classes"
    assert not any(key.startswith("backbone.fc") for key in own)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_maps_are_as_described_and_scores_have_the_size_of_the_image(name: str) -> None:
    net, x = on_meta(name, classes=5), torch.empty(2, 3, 97, 131, device="meta")
    maps = net.features(x)
    assert [m.shape[1] for m in maps] == net.channels
    assert [m.shape[2:] for m in maps] == [(-(-97 // s), -(-131 // s)) for s in net.strides]
    assert net.strides == ([2, 4, 8, 16, 32] if name.startswith("unet") else [4, 8, 8, 8])
    assert [s.shape for s in scores_of(net.train(), x)] == [(2, 5, 97, 131)] * len(net.heads)
    assert [s.shape for s in scores_of(net.eval(), x)] == [(2, 5, 97, 131)]
    with pytest.raises(SkipwayError, match=f"the smallest is {net.smallest}$"):
        net.features(x[:, :, : net.smallest - 1])
    with pytest.raises(NotImplementedError):
        net.classify(maps[-1])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_one_image_of_any_size_gives_gradients_for_every_parameter(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = without_dropout(create_segmenter(name, 3)).train()
    target = torch.randint(0, 3, (1, *size))
    sum(F.cross_entropy(scores, target) for scores in scores_of(net, torch.randn(1, 3, *size))).backward()
    for key, p in net.named_parameters():
        assert p.grad is not None, key
        assert bool(p.grad.isfinite().all()), key
    heads = [net.get_submodule(head).weight.grad for head in net.heads]
    assert all(float(gradient.abs().max()) > 0 for gradient in heads)
    assert float(net.get_submodule(net.first).weight.grad.abs().max()) > 0


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", SMALL)
def test_grey_and_four_channel_images_are_taken_and_others_refused(name: str, channels: int) -> None:
    net = create_segmenter(name, 2, channels).eval()
    with torch.no_grad():
        assert net(torch.randn(1, channels, 40, 64)).shape == (1, 2, 40, 64)
    with pytest.raises(SkipwayError, match=rf"it expects \(N, {channels}, H, W\)$"):
        net(torch.randn(1, 3, 40, 64))


@pytest.mark.parametrize("name", SMALL)
def test_the_first_loss_is_that_of_chance(name: str) -> None:
    torch.manual_seed(0)
    net = create_segmenter(name, 11).train()
    target = torch.randint(0, 11, (2, 64, 96))
    for scores in scores_of(net, torch.randn(2, 3, 64, 96)):
        assert F.cross_entropy(scores, target).item() == pytest.approx(torch.tensor(11.0).log().item(), abs=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_an_image_has_the_same_scores_beside_others(name: str) -> None:
    torch.manual_seed(0)
    net = create_segmenter(name, 3).eval()
    x = torch.randn(3, 3, 65, 80)
    with torch.no_grad():
        torch.testing.assert_close(net(x[:1]), net(x)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_scores_are_float32_where_convolutions_are_not(name: str) -> None:
    net = create_segmenter(name, 3).train()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert all(scores.dtype == torch.float32 for scores in scores_of(net, torch.randn(2, 3, 64, 96)))
        assert net.features(torch.randn(2, 3, 64, 96))[-1].dtype == torch.bfloat16


@pytest.mark.parametrize("name", SMALL)
def test_recomputation_changes_neither_gradients_nor_statistics_nor_names(name: str) -> None:
    x, target = torch.randn(2, 3, 65, 96, dtype=torch.float64), torch.randint(0, 3, (2, 65, 96))
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        net = without_dropout(create_segmenter(name, 3)).double().train()
        if again:
            assert net.save_memory()
        sum(F.cross_entropy(scores, target) for scores in scores_of(net, x)).backward()
        found.append({**dict(net.named_buffers()), **{key: p.grad for key, p in net.named_parameters()}})
    plain, recomputed = found
    assert list(plain) == list(recomputed)
    for key, value in plain.items():
        torch.testing.assert_close(recomputed[key], value, rtol=1e-5, atol=1e-7, msg=key)  # scores are float32


def stored_bytes(net: Segmenter, x: Tensor) -> int:
    """What autograd stores of a forward pass, without parameters."""
    stored: dict[int, int] = {}
    own = {p.data_ptr() for p in net.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = scores_of(net, x)
    del scores  # kept until here: addresses of freed tensors would be used again
    return sum(stored.values())


@pytest.mark.parametrize("name", SMALL)
def test_recomputation_stores_less(name: str) -> None:
    net, x = create_segmenter(name, 3).train(), torch.randn(2, 3, 96, 128)
    before = stored_bytes(net, x)
    net.save_memory()
    assert stored_bytes(net, x) < (0.6 if name.startswith("unet") else 0.8) * before


def test_units_of_the_backbone_are_dropped_by_stochastic_depth() -> None:
    assert add_stochastic_depth(on_meta("unet_resnet18"), 0.5) == 8


# ---------------------------------------------------------------------------------------------------------------------
# Names


def test_names_are_listed_by_pattern_and_are_neither_classifiers_nor_detectors() -> None:
    assert list_segmenters("unet_resnet18*") == [
        "unet_resnet18",
        "unet_resnet18d_x0_5",
        "unet_resnet18_light",
        "unet_resnet18d_x0_5_light",
    ]
    assert not set(SEGMENTERS) & {*models.NETWORKS, *models.DETECTORS}
    assert set(models.BODY_OF) == {*SEGMENTERS, *models.DETECTORS}
    assert is_segmenter("deeplabv3_resnext50_32x4d")
    assert not is_segmenter("resnet50")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown segmenter 'unet_resnet5': did you mean 'unet_resnet50'"):
        create_segmenter("unet_resnet5", 2)
    with pytest.raises(UnknownNameError, match="unknown model 'deeplabv3_resnet5': did you mean 'deeplabv3_resnet50'"):
        models.require_known("deeplabv3_resnet5")
    models.require_known("deeplabv3_resnet50")


@pytest.mark.parametrize(
    ("classes", "channels", "message"),
    [(0, 3, "between 1 and 255 are possible"), (256, 3, "between 1 and 255"), (2, 0, "at least 1 is needed")],
)
def test_numbers_out_of_range_are_refused(classes: int, channels: int, message: str) -> None:
    with pytest.raises(SkipwayError, match=message):
        create_segmenter("unet_resnet18", classes, channels)


def test_list_and_show_say_that_segmenters_and_detectors_exist() -> None:
    with pytest.raises(
        SkipwayError, match=r"no classification network matches fcn_\*t50, but others do: fcn_resnet50$"
    ):
        summary.network_rows("fcn_*t50")
    with pytest.raises(SkipwayError, match="but others do: fcos_resnet34, fcos_resnet34_light"):
        summary.network_rows("fcos_resnet34")
    for name in ("unet_resnet18_light", "fcos_resnet18"):
        with pytest.raises(SkipwayError, match=f"{name} is not a classification network: `skipway show resnet18`"):
            summary.network_layers(name, "", None)
