"""A network works wherever torchvision's does: tools that record, copy, compile, quantise, explain and count it.

One shallow network of each family, of its own parts; for tools that take a second a network, some of them. Where
torchvision's cannot do it either, the test says so.
"""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call, grad, vmap
from twins import parameters, shaken

from skipway import models
from skipway.attribution.gradcam import grad_cam
from skipway.errors import SkipwayError
from skipway.models import blurpool, densenet, highway, preresnet, resnet, resnetd, resnext, senet, wide_resnet
from skipway.models.base import ModelOutput, Network
from skipway.models.segmentation.deeplabv3 import deeplabv3
from skipway.models.segmentation.fcn import fcn
from skipway.models.segmentation.unet import UNet

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning",  # kept here for those who still use it
    "ignore:The TorchScript type system:UserWarning",  # of torch.fx's own modules
    "ignore:.*is deprecated:DeprecationWarning",
    "ignore:.*is deprecated:FutureWarning",
)


def body(classes: int = 3) -> resnet.ResNet:
    return resnet.imagenet(resnet.Basic, 1, (1, 1, 1, 1))(classes)


FAMILIES: dict[str, Callable[[], Network]] = {
    "resnet": body,
    "resnet with padded shortcuts": lambda: resnet.cifar(resnet.Basic, 1)(3),
    "plain": lambda: resnet.plain_cifar(1)(3),
    "resnetd": lambda: resnetd.variant_d(resnet.Basic, 1, (1, 1, 1, 1), width=32)(3),
    "senet": lambda: resnet.imagenet(senet.basic, 1, (1, 1, 1, 1))(3),
    "blurpool": lambda: blurpool.antialiased(resnet.imagenet(resnet.Basic, 1, (1, 1, 1, 1)))(3),
    "resnext": lambda: resnet.imagenet(resnext.bottleneck(32, 4), 4, (1, 1, 1, 1))(3),
    "wide_resnet": lambda: wide_resnet.wide(10, 1)(3),
    "densenet": lambda: densenet.cifar_bc(12, 16)(3),
    "googlenet": lambda: models.build("googlenet", 3),
    "alexnet": lambda: models.build("alexnet", 3),  # the parts of VGG, whose linear layers take half a gigabyte
    "preresnet": lambda: preresnet.cifar(preresnet.FULL_BOTTLENECK_V1, 1)(3),
    "preresnet with gates": lambda: preresnet.after_addition(
        partial(preresnet.Exclusive, bias=-6), 1, 1, resnet.shortcut_a
    )(3),
    "highway": lambda: highway.cifar((8, 16, 24), ((1, 3),) * 3, -2)(3),
}
SEGMENTERS: dict[str, Callable[[], Network]] = {
    "unet": lambda: UNet(body(), 3, widths=(32, 16, 8)),
    "fcn": lambda: fcn(body(), 3),
    "deeplabv3": lambda: deeplabv3(body(), 3),
}
DENSE = {**FAMILIES, **SEGMENTERS}
MANY = [name for name in DENSE if name not in ("googlenet", "alexnet", "deeplabv3")]  # the others have the most layers
SOME = ["resnet with padded shortcuts", "blurpool", "wide_resnet", "densenet", "highway"]


@cache
def known(name: str) -> Network:
    """The network in evaluation mode, which no test changes."""
    torch.manual_seed(0)
    net = shaken(DENSE[name]()).eval()
    assert isinstance(net, Network)
    return net.requires_grad_(False)


def images_for(net: Network, number: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    side = 96 if net.smallest > 48 else max(2 * net.smallest, 16)
    return torch.randn(number, 3, side, side, generator=generator)


def assert_same(net: nn.Module, other: Callable[..., Tensor], *inputs: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(other(*inputs), net(*inputs))


def needs(module: str) -> None:
    """Skip the test where an optional tool is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of imports that are not ours
        pytest.importorskip(module, reason=f"{module} is not installed")


every = pytest.mark.parametrize("name", DENSE)
many = pytest.mark.parametrize("name", MANY)
some = pytest.mark.parametrize("name", SOME)
some_and_unet = pytest.mark.parametrize("name", [*SOME, "unet"])

# ---------------------------------------------------------------------------------------------------------------------
# Graphs


@every
def test_fx_records_the_network_for_images_of_any_number_and_size(name: str) -> None:
    net = known(name)
    recorded = fx.symbolic_trace(net)
    x = images_for(net)
    assert_same(net, recorded, x)
    assert_same(net, recorded, F.pad(x, (0, 5, 0, 9))[:1])


@many
def test_fx_records_training_with_the_same_gradients(name: str) -> None:
    net = copy.deepcopy(known(name)).requires_grad_(True).train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    x, found = images_for(net), []
    for one in (fx.symbolic_trace(copy.deepcopy(net)), net):
        out = one(x)
        scores = (out.scores, *out.auxiliary) if isinstance(out, ModelOutput) else (out,)
        torch.stack([s.square().mean() for s in scores]).sum().backward()
        found.append({key: p.grad for key, p in one.named_parameters()})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][key], value) for key, value in found[1].items())


@every
@pytest.mark.filterwarnings("ignore:.*nodes obtained by tracing:UserWarning")  # auxiliary scores, padded shortcuts
def test_the_feature_extractor_gives_what_a_hook_sees(name: str) -> None:
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    net, x, seen = known(name), images_for(known(name)), []
    head = net.heads[0]
    assert head in get_graph_node_names(net)[1], "nodes are named for the modules"
    hook = net.get_submodule(head).register_forward_hook(lambda module, inputs, out: seen.append(out))
    net(x)
    hook.remove()
    assert torch.equal(create_feature_extractor(net, [head])(x)[head], seen[0])


@some_and_unet
def test_torch_export_gives_the_same_scores_for_any_number_of_images(name: str) -> None:
    net, x = known(name), images_for(known(name))
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    assert_same(net, exported, x)
    with torch.no_grad():
        assert torch.allclose(exported(images_for(net, 3)), net(images_for(net, 3)), rtol=1e-4, atol=1e-5)


@some_and_unet
def test_torch_compile_needs_a_single_graph(name: str) -> None:
    net = known(name)
    torch._dynamo.reset()
    assert_same(net, torch.compile(net, fullgraph=True, backend="eager"), images_for(net))


@many
def test_torch_jit_script_saves_and_loads(name: str) -> None:
    net, file = known(name), io.BytesIO()
    torch.jit.save(torch.jit.script(net), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    assert_same(net, loaded, images_for(net))
    assert_same(net, loaded, F.pad(images_for(net), (0, 5, 0, 9)))
    assert net.state_dict().keys() >= loaded.state_dict().keys() >= set(), "without auxiliary classifiers"


def test_torch_jit_script_compiles_a_network_in_a_module_of_the_user() -> None:
    net = copy.deepcopy(known("resnet"))
    x = images_for(net)
    assert_same(nn.Sequential(net, nn.Softmax(1)), torch.jit.script(nn.Sequential(net, nn.Softmax(1))), x)


@many
def test_torch_jit_trace_keeps_no_size(name: str) -> None:
    """A warning, of a size that became a constant, would be an error here."""
    net, x = known(name), images_for(known(name))
    traced = torch.jit.trace(net, x)
    assert_same(net, traced, x)
    assert_same(net, traced, F.pad(x, (0, 5, 0, 9))[:1])


def test_a_small_image_is_still_refused_after_recording() -> None:
    net = known("resnet")
    torch.jit.trace(net, images_for(net))
    fx.symbolic_trace(net)
    for x in (images_for(net)[..., :31], images_for(net)[:, :1]):
        with pytest.raises(SkipwayError, match="images of"):
            net(x)
        with pytest.raises(SkipwayError, match="images of"):
            torch.export.export(net, (x,))


# ---------------------------------------------------------------------------------------------------------------------
# Quantisation: to 8 bits, so that scores change by some per cent


def assert_close(net: nn.Module, other: Callable[..., Tensor], x: Tensor) -> None:
    with torch.no_grad():
        wanted, found = net(x), other(x)
    assert 0 < (found - wanted).norm() / wanted.norm() < 0.25


@some_and_unet
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch.ao itself
def test_fx_graph_mode_quantisation_keeps_the_scores(name: str) -> None:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    if name == "blurpool":
        pytest.skip("torch.ao's conversion fails on filters that are buffers; torchvision has no such network")
    net, x = known(name), images_for(known(name), 4)
    prepared = prepare_fx(copy.deepcopy(net), get_default_qconfig_mapping("x86"), (x,))
    prepared(x)
    assert_close(net, convert_fx(prepared), x)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torchao itself
def test_quantisation_of_the_exported_graph_keeps_the_scores() -> None:
    """Of a residual network alone: torchao's search for patterns takes a minute with pre-activation and dense units."""
    needs("torchao")
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    net, x = known("resnet with padded shortcuts"), images_for(known("resnet with padded shortcuts"), 4)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.export(net, (x,)).module(), quantizer)
    prepared(x)
    assert_close(net, move_exported_model_to_eval(convert_pt2e(prepared)), x)


# ---------------------------------------------------------------------------------------------------------------------
# Functions, hooks, copies, devices


@some
def test_gradients_of_each_image_are_those_of_one_image_alone(name: str) -> None:
    net, x, y = known(name), images_for(known(name)), torch.tensor([0, 2])
    weights = dict(net.named_parameters())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (image[None],)), label[None])

    each = vmap(grad(loss), (None, 0, 0))(weights, x, y)
    for i in range(2):
        alone = grad(loss)(weights, x[i], y[i])
        for key, value in alone.items():
            scale = value.abs().max().clamp(min=1e-12)
            assert (each[key][i] - value).abs().max() / scale < 1e-3, key


@every
def test_hooks_see_every_layer_once_and_the_gradient_of_the_scores(name: str) -> None:
    """A full backward hook on a layer whose output is rectified in place is refused by torch, in torchvision's too."""
    net, x, calls = known(name), images_for(known(name)).requires_grad_(), []
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    hooks = [m.register_forward_hook(lambda module, inputs, out: calls.append(module)) for m in layers]
    hooks.append(
        net.get_submodule(net.heads[0]).register_full_backward_hook(lambda m, inputs, outs: calls.append(outs[0]))
    )
    net(x).square().sum().backward()
    for hook in hooks:
        hook.remove()
    *modules, gradient = calls
    auxiliary = tuple(head.split(".")[0] + "." for head in net.heads[1:])
    used = [m for key, m in net.named_modules() if m in layers and not key.startswith(auxiliary or "-")]
    assert len(modules) == len(used) and set(modules) == set(used)
    assert gradient.abs().sum() > 0


@every
def test_copies_and_pickles_are_equal_and_independent(name: str) -> None:
    net, x = known(name), images_for(known(name))
    for other in (
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        pickle.loads(pickle.dumps(fx.symbolic_trace(net))),
    ):
        assert_same(net, other, x)
        ours = {p.data_ptr() for p in net.parameters()}
        assert not ours & {p.data_ptr() for p in other.parameters()}


@every
def test_the_meta_device_builds_and_runs_without_numbers(name: str) -> None:
    with torch.device("meta"):
        net = DENSE[name]().eval()
    assert all(t.is_meta for t in net.state_dict().values())
    x = images_for(net).to("meta")
    assert net(x).shape == known(name)(images_for(known(name))).shape


# ---------------------------------------------------------------------------------------------------------------------
# Attribution and counts


@some
def test_captum_attributes_the_whole_change_of_a_score(name: str) -> None:
    """Integrated gradients are complete (Sundararajan 2017): they sum up to the change from the black image."""
    needs("captum")
    from captum.attr import IntegratedGradients, LayerGradCam

    net, x = known(name), images_for(known(name), 1)
    attributions = IntegratedGradients(net).attribute(x, target=1, n_steps=64, internal_batch_size=16)
    with torch.no_grad():
        change = (net(x) - net(torch.zeros_like(x)))[0, 1]
    assert abs(attributions.sum() - change) < 0.1 * attributions.abs().sum()
    if isinstance(net, resnet.ResNet):
        theirs = LayerGradCam(net, net.get_submodule(net.stages[-1])).attribute(x, target=1, relu_attributions=True)
        theirs = F.interpolate(theirs.detach(), x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        ours = grad_cam(net, x, torch.tensor([1]))
        assert torch.allclose(theirs / theirs.max().clamp(min=1e-30), ours, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "preresnet", "densenet"])
def test_pytorch_grad_cam_agrees_with_our_heat_map(name: str) -> None:
    needs("pytorch_grad_cam")
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, x = copy.deepcopy(known(name)).requires_grad_(True), images_for(known(name), 1)
    layer = {"resnet": "layer4", "preresnet": "last", "densenet": "features.relu5"}[name]
    with GradCAM(net, [net.get_submodule(layer)]) as explainer:
        theirs = torch.from_numpy(explainer(x, [ClassifierOutputTarget(1)]))
    ours = grad_cam(net, x, torch.tensor([1]))  # theirs enlarges after scaling, from another minimum
    assert torch.corrcoef(torch.stack([theirs.flatten(), ours.flatten()]))[0, 1] > 0.95 or ours.max() == 0


@every
def test_torchinfo_counts_every_parameter(name: str) -> None:
    needs("torchinfo")
    from torchinfo import summary

    net = known(name)
    assert summary(net, input_data=images_for(net), verbose=0).total_params == parameters(net)


@some
def test_fvcore_counts_the_multiply_adds_of_convolutions_and_linear_layers(name: str) -> None:
    needs("fvcore")
    from fvcore.nn import FlopCountAnalysis

    net, x = known(name), images_for(known(name), 1)
    total, hooks = [], []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            hooks.append(
                module.register_forward_hook(lambda m, inputs, out: total.append(out.numel() * m.weight[0].numel()))
            )
        elif isinstance(module, blurpool.BlurPool):
            hooks.append(module.register_forward_hook(lambda m, inputs, out: total.append(out.numel() * 16)))
    net(x)
    for hook in hooks:
        hook.remove()
    counted = FlopCountAnalysis(net, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = counted.by_operator()
    assert by_operator["conv"] + by_operator["linear"] == sum(total)


# ---------------------------------------------------------------------------------------------------------------------
# Generators and detectors


def noisy_inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 9, 13), torch.rand(2), torch.tensor([0, 2])


@cache
def generator() -> nn.Module:
    """Its sides are odd, and pixels are folded: everything that depends on a size takes place."""
    from skipway.models.generation.unet import ADM, VelocityUNet

    torch.manual_seed(0)
    return shaken(VelocityUNet(ADM, (32, 32), 1, (1,), 32, classes=2, channels=3, fold=2)).eval().requires_grad_(False)


@pytest.mark.parametrize(
    "made",
    [
        fx.symbolic_trace,
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
        lambda net: pickle.loads(pickle.dumps(fx.symbolic_trace(net))),
        lambda net: torch.export.export(net, noisy_inputs()).module(),
        lambda net: torch.compile(net, fullgraph=True, backend="eager"),
    ],
    ids=["fx", "deepcopy", "pickle", "pickle of fx", "export", "compile"],
)
def test_a_generator_gives_the_same_velocity(made: Callable[[nn.Module], nn.Module]) -> None:
    assert_same(generator(), made(generator()), *noisy_inputs())


def test_a_generator_runs_on_the_meta_device() -> None:
    with torch.device("meta"):
        net = models.create_generator("unet32", 3)
    shapes = (torch.empty(2, 3, 32, 32), torch.empty(2), torch.empty(2, dtype=torch.int64))
    assert net(*(s.to("meta") for s in shapes)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("name", ["fcos_resnet18d_x0_5_light", "fasterrcnn_resnet18d_x0_5"])
def test_a_detector_is_copied_exported_and_recorded_up_to_its_maps(name: str) -> None:
    """As a whole torch.fx records neither these nor torchvision's, and there is no graph of two stages, which compute
    with what they find. torch.jit.script compiles torchvision's and not these, which say so."""
    torch.manual_seed(0)
    net, x = models.create_detector(name, 3).eval().requires_grad_(False), torch.rand(1, 3, 64, 64)
    maps, recorded = net.backbone(x), fx.symbolic_trace(net.backbone)(x)
    assert maps.keys() == recorded.keys() and all(torch.equal(recorded[key], value) for key, value in maps.items())
    others = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    if not models.suppresses(name):
        others.append(torch.export.export(net, (x,)).module())
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(other(x), net(x), strict=True))
    with pytest.raises(SkipwayError, match="does not compile detectors"):
        torch.jit.script(net)
