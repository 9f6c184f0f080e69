"""Checkpoints of other training scripts: the right state dict, the right prefix, and nothing dropped without a word."""

import argparse
import pathlib
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from skipway.errors import SkipwayError
from skipway.models import build
from skipway.models.pretrained.state_dict_check import MismatchError, compare, without_unexpected
from skipway.models.pretrained.state_dicts import count, read_state_dicts
from skipway.models.pretrained.weights import load, read_for

NET = "resnet18"


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    """torchvision's ResNet-18 of 37 classes, in which no two numbers are alike."""
    torch.manual_seed(3)
    return torchvision.models.resnet18(weights=None, num_classes=37).state_dict()


def saved(content: Any, folder: Path, suffix: str = ".pth") -> Path:
    file = folder / f"c{suffix}"
    torch.save(content, file)
    return file


def under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in weights.items()}


def body_of(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.startswith("fc.")}


def loaded(file: Path, classes: int = 2) -> tuple[nn.Module, list[str]]:
    """A network with the file's weights, and what is said of them."""
    net = build(NET, classes=classes)
    return net, load(net, read_for(file, NET), NET)


def assert_body(net: nn.Module, weights: dict[str, Tensor]) -> None:
    own = net.state_dict()
    assert all(torch.equal(own[key], value) for key, value in body_of(weights).items())


# ---------------------------------------------------------------------------------------------------------------------
# Prefixes


@pytest.mark.parametrize(
    "prefix",
    ["backbone.", "model.", "net.", "encoder.", "module.", "_orig_mod.", "model._orig_mod.module.", "my.own.part."],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_any_shared_prefix_is_taken_off_and_said(
    prefix: str, suffix: str, tmp_path: Path, theirs: dict[str, Tensor]
) -> None:
    file = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(under(prefix, theirs), file)
    net, said = loaded(file)
    assert_body(net, theirs)
    assert said == [
        f"the prefix '{prefix}' is removed",
        "the classifier for 37 classes is not used; a new one for 2 classes is initialised",
    ]


def test_all_of_a_network_of_the_same_classes_is_loaded_from_behind_a_prefix(
    tmp_path: Path, theirs: dict[str, Tensor]
) -> None:
    net, said = loaded(saved(under("backbone.", theirs), tmp_path), classes=37)
    assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items())
    assert said == ["the prefix 'backbone.' is removed"]


def test_a_compilers_parts_within_names_are_taken_out(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    compiled = {key.replace("layer1.", "layer1._orig_mod."): value for key, value in theirs.items()}
    net, said = loaded(saved(compiled, tmp_path), classes=37)
    assert_body(net, theirs)
    assert said == ["'module.' and '_orig_mod.' are removed"]


def test_of_two_networks_in_a_file_the_one_that_fits_is_taken(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    larger = torchvision.models.resnet50(weights=None).state_dict()
    net, said = loaded(saved(under("teacher.", larger) | under("student.", theirs), tmp_path))
    assert_body(net, theirs)
    assert said[0] == "the prefix 'student.' is removed"
    assert f"{len(larger)} tensors of the file are not used (teacher.conv1.weight, " in said[-1]


def test_of_two_equal_networks_the_first_is_taken_and_the_other_counted(
    tmp_path: Path, theirs: dict[str, Tensor]
) -> None:
    queried = body_of(theirs)
    keyed = {key: torch.zeros_like(value) for key, value in queried.items()}
    queue = {"module.queue": torch.zeros(128, 16), "module.queue_ptr": torch.zeros(1)}
    file = saved(under("module.encoder_q.", queried) | under("module.encoder_k.", keyed) | queue, tmp_path)
    net, said = loaded(file)
    assert_body(net, theirs)
    assert said[0] == "the prefix 'module.encoder_q.' is removed"
    assert said[-1].startswith(f"{len(keyed) + 2} tensors of the file are not used (module.encoder_k.conv1.weight, ")


@pytest.mark.parametrize("prefix", ["", "backbone.", "model.module."])
@pytest.mark.parametrize("name", ["resnetv2_18", "densenet121"])
def test_others_layouts_are_told_behind_a_prefix_too(prefix: str, name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    weights = timm.create_model(name, num_classes=5).state_dict()
    model = name.replace("resnetv2_", "preresnet")
    found = read_for(saved(under(prefix, weights), tmp_path), model)
    assert not compare(build(model, classes=5), found.weights)


# ---------------------------------------------------------------------------------------------------------------------
# Files of training scripts


def test_a_lightning_file_is_understood(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(under("model.", theirs) | {"criterion.weight": torch.ones(37)}),
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2), "step": torch.tensor(1.0)}}}],
        "hyper_parameters": {"lr": 0.1, "args": argparse.Namespace(depth=18), "root": pathlib.PurePosixPath("/data")},
    }
    net, said = loaded(saved(content, tmp_path, ".ckpt"))
    assert_body(net, theirs)
    assert said == [
        "'state_dict' of the file is used, and not callbacks (1 tensors), optimizer_states (2 tensors)",
        "the prefix 'model.' is removed",
        "the classifier for 37 classes is not used; a new one for 2 classes is initialised",
        "1 tensor of the file is not used (criterion.weight)",
    ]


@pytest.mark.parametrize(
    ("main", "average"), [("model", "model_ema"), ("state_dict", "state_dict_ema"), ("net", "ema"), ("model", "a")]
)
@pytest.mark.parametrize("average_first", [True, False])
def test_of_weights_and_their_average_the_weights_are_taken_and_both_said(
    main: str, average: str, average_first: bool, tmp_path: Path, theirs: dict[str, Tensor]
) -> None:
    entries = [(main, theirs), (average, under("module.", {key: value + 1 for key, value in theirs.items()}))]
    net, said = loaded(saved(dict(reversed(entries) if average_first else entries), tmp_path))
    assert_body(net, theirs)
    assert said[0] == f"'{main}' of the file is used, and not {average} ({len(theirs)} tensors)"


def test_a_real_average_and_optimiser_are_read_as_torchvisions_script_saves_them(tmp_path: Path) -> None:
    trained = torchvision.models.resnet18(weights=None, num_classes=4)
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    trained(torch.randn(2, 3, 32, 32)).sum().backward()
    optimiser.step()
    content = {
        "model": trained.state_dict(),
        "optimizer": optimiser.state_dict(),
        "model_ema": AveragedModel(trained).state_dict(),
        "args": argparse.Namespace(lr=0.1, output_dir=pathlib.Path("/runs")),
        "epoch": 7,
        "best": np.float64(0.5),
    }
    net, said = loaded(saved(content, tmp_path), classes=4)
    assert_body(net, trained.state_dict())
    assert said == ["'model' of the file is used, and not optimizer (62 tensors), model_ema (123 tensors)"]


def test_an_average_alone_is_taken(tmp_path: Path) -> None:
    averaged = AveragedModel(torchvision.models.resnet18(weights=None, num_classes=4)).state_dict()
    net, said = loaded(saved(averaged, tmp_path), classes=4)
    assert_body(net, {key.removeprefix("module."): v for key, v in averaged.items() if key != "n_averaged"})
    assert said == ["the prefix 'module.' is removed", "1 tensor of the file is not used (n_averaged)"]


def test_a_file_that_holds_itself_is_counted_to_the_end() -> None:
    content: dict[str, Any] = {"a": torch.ones(1), "b": [torch.ones(1), {"c": (torch.ones(1),)}]}
    content["b"].append(content)
    assert count(content) == 3


# ---------------------------------------------------------------------------------------------------------------------
# Objects in pickles


class Made:
    """An object that tells that it was made."""

    alive = 0

    def __init__(self) -> None:
        type(self).alive += 1


def test_options_paths_and_figures_beside_weights_do_no_harm_and_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved({"args": argparse.Namespace(a=1), "model": {"a": torch.ones(2)}, "best": np.float32(0.1)}, tmp_path)
    monkeypatch.setattr(argparse, "Namespace", Made)
    assert list(read_state_dicts(file)[0].tensors) == ["a"]
    assert Made.alive == 0
    with pytest.raises(Exception, match="weights_only"):
        torch.load(file, weights_only=True)  # what is allowed is allowed for our reading alone


def test_other_objects_are_refused_with_their_kind_and_what_to_do(tmp_path: Path) -> None:
    config = types.SimpleNamespace(lr=0.1)  # as a pickled OmegaConf: of a kind that nothing here needs
    file = saved({"state_dict": {"a": torch.ones(2)}, "hyper_parameters": config}, tmp_path, ".ckpt")
    with pytest.raises(
        SkipwayError, match=r"SimpleNamespace, which could execute code.*save only its state dict"
    ) as caught:
        read_for(file, NET)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Heads


def test_a_body_without_a_head_is_kept(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    net, said = loaded(saved(body_of(theirs), tmp_path))
    assert_body(net, theirs)
    assert said == ["the file has no classifier 'fc'; a new one for 2 classes is initialised"]


def test_a_projector_and_a_head_of_another_name_are_left_out_and_named(
    tmp_path: Path, theirs: dict[str, Tensor]
) -> None:
    projector = {"fc.0.weight": torch.ones(8, 512), "fc.0.bias": torch.ones(8), "fc.2.weight": torch.ones(4, 8)}
    other = {"head.weight": torch.ones(3, 512), "head.bias": torch.ones(3)}
    net, said = loaded(saved(body_of(theirs) | projector | other, tmp_path))
    assert_body(net, theirs)
    assert said == [
        "the file has no classifier 'fc'; a new one for 2 classes is initialised",
        "5 tensors of the file are not used (fc.0.weight, fc.0.bias, fc.2.weight, ...)",
    ]


def test_a_head_is_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    weights = torchvision.models.resnet18(weights=None, num_classes=2).state_dict()
    del weights["fc.bias"]
    net = build(NET, classes=2)
    fresh = net.fc.weight.detach().clone()
    said = load(net, read_for(saved(weights, tmp_path), NET), NET)
    assert torch.equal(net.fc.weight, fresh)
    assert said == ["the file's classifier 'fc' has another shape and is not used; a new one is initialised"]


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("other", ["resnet34", "resnet50", "mobilenet_v2"])
def test_a_body_that_does_not_fit_is_refused_and_nothing_is_loaded(prefix: str, other: str, tmp_path: Path) -> None:
    """ResNet-34 holds everything that ResNet-18 needs, and more units: the names of these tell."""
    weights = getattr(torchvision.models, other)(weights=None, num_classes=4).state_dict()
    net = build(NET, classes=4)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(MismatchError, match="do not fit resnet18") as caught:
        load(net, read_for(saved(under(prefix, weights), tmp_path), NET), NET)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_what_has_no_part_in_a_network_is_set_aside_only_where_all_else_fits(theirs: dict[str, Tensor]) -> None:
    net = build(NET, classes=37)
    queue = {"queue": torch.ones(3)}
    assert without_unexpected(net, theirs | queue) == (theirs, ["queue"])
    headless = body_of(theirs) | queue
    assert without_unexpected(net, headless) == (headless, [])
