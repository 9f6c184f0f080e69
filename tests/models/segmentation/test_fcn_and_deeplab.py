"""FCN and DeepLabv3 against torchvision's."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import resnet
from torchvision.models.segmentation import deeplabv3, fcn
from twins import parameters, shaken

from skipway.hardware import ShapesOnly
from skipway.models import create_segmenter
from skipway.models.base import ModelOutput
from skipway.models.segmentation.deeplabv3 import PooledBranch

CLASSES = 5
PUBLISHED = {  # parameters with 21 classes and the auxiliary classifier
    "fcn_resnet50": 35_322_218,
    "fcn_resnet101": 54_314_346,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_resnet101": 60_996_202,
}


def theirs(name: str, classes: int, auxiliary: bool) -> nn.Module:
    return torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=classes, aux_loss=auxiliary
    )


def without_dropout(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_names_and_shapes_are_torchvisions(name: str) -> None:
    with ShapesOnly():
        net, full, bare = create_segmenter(name, 21), theirs(name, 21, True), theirs(name, 21, False)
    assert parameters(net) == parameters(full) == PUBLISHED[name]
    assert parameters(net) - parameters(net.aux_classifier) == parameters(bare)
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in full.state_dict().items()}


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.endswith("50")])
def test_outputs_in_evaluation_and_training_are_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    their = without_dropout(shaken(theirs(name, CLASSES, True)))
    net = without_dropout(create_segmenter(name, CLASSES))
    net.load_state_dict(their.state_dict(), strict=True)
    x = torch.randn(2, 3, 33, 113)
    with torch.no_grad():
        wanted = their.eval()(x)["out"]
        torch.testing.assert_close(net.eval()(x), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
        wanted, found = their.train()(x), net.train()(x)
    assert isinstance(found, ModelOutput)
    for ours, key in ((found.scores, "out"), (found.auxiliary[0], "aux")):
        torch.testing.assert_close(ours, wanted[key], rtol=1e-4, atol=1e-4 * float(wanted[key].abs().max()))
    for key, buffer in their.named_buffers():
        torch.testing.assert_close(dict(net.named_buffers())[key], buffer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["fcn", "deeplabv3"])
def test_heads_on_basic_units_are_torchvisions(kind: str) -> None:
    """Its builders refuse to dilate these units; the heads are the same."""
    torch.manual_seed(0)
    net = shaken(create_segmenter(f"{kind}_resnet18", CLASSES)).eval()
    head = {"fcn": fcn.FCNHead, "deeplabv3": deeplabv3.DeepLabHead}[kind](512, CLASSES).eval()
    head.load_state_dict(net.classifier.state_dict(), strict=True)
    auxiliary = fcn.FCNHead(256, CLASSES).eval()
    auxiliary.load_state_dict(net.aux_classifier.state_dict(), strict=True)
    x = torch.randn(1, 512, 17, 23)
    with torch.no_grad():
        torch.testing.assert_close(net.classifier(x), head(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.aux_classifier(x[:, :256]), auxiliary(x[:, :256]), rtol=1e-4, atol=1e-5)
    with pytest.raises(NotImplementedError):
        resnet.resnet18(replace_stride_with_dilation=[False, True, True])


def test_the_pooled_branch_of_one_image_is_normalised_as_in_evaluation_and_of_two_as_in_training() -> None:
    torch.manual_seed(0)
    branch = shaken(PooledBranch(8))
    their = deeplabv3.ASPPPooling(8, 256)
    their.load_state_dict(branch.state_dict(), strict=True)
    one, two = torch.randn(1, 8, 5, 6), torch.randn(2, 8, 5, 6)
    before = {key: value.clone() for key, value in branch.state_dict().items()}
    with torch.no_grad():
        wanted = their.eval()(one)
        torch.testing.assert_close(branch.train()(one), wanted, rtol=1e-4, atol=1e-5)
        assert all(torch.equal(value, before[key]) for key, value in branch.state_dict().items())
        torch.testing.assert_close(branch.train()(two), their.train()(two), rtol=1e-4, atol=1e-5)
    assert torch.equal(branch.get_buffer("2.running_mean"), their.get_buffer("2.running_mean"))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        their.train()(one)
