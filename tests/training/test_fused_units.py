"""Networks whose units are fused for training against the same networks without."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import EVERY_2, QUIET, SHORT, few_digits, killed_at, losses, same, weights
from torch import Tensor, nn

from skipway import hardware, models
from skipway.kernels import batch_norm, library
from skipway.kernels.batch_norm import BatchNormReLU
from skipway.study.engine.runs import Machine
from skipway.training import loop
from skipway.training.fused_units import fuse_units
from skipway.training.run_manifest import hardware_arguments, read_manifest
from skipway.training.sync_batchnorm import SyncBatchNorm

NETWORKS = {  # the normalisations that are fused, and all; those of projections have no ReLU of their own
    "resnet20": (19, 19),
    "preresnet20": (19, 19),
    "resnet50": (49, 53),
    "plain20": (19, 19),
}
FUSED = hardware.decide("cpu", workers=0, fused_units="on")


@pytest.fixture(autouse=True)
def _kernels() -> None:
    found, why = library.load()
    if found is None:
        pytest.skip(f"no kernels here: {why}")


def built(name: str) -> nn.Module:
    options = {"stem": "small"} if name == "resnet50" else {}
    torch.manual_seed(0)
    return models.build(name, classes=5, **options).double().to(memory_format=torch.channels_last)


def step(net: nn.Module) -> list[Tensor]:
    """Scores, gradients and statistics of one step on the same images."""
    torch.manual_seed(1)
    images = torch.randn(6, 3, 16, 16, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    scores = net(images)
    scores.logsumexp(1).sum().backward()
    return [scores.detach(), *(p.grad for p in net.parameters() if p.grad is not None), *net.buffers()]


def close(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(one, other, strict=True))


def calls_of(net: nn.Module) -> int:
    """How many normalisations of a forward pass went through the kernels."""
    called, apply = [], BatchNormReLU.apply
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm.BatchNormReLU, "apply", lambda *given: called.append(1) or apply(*given))
        net(torch.randn(2, 3, 16, 16, dtype=torch.float64).contiguous(memory_format=torch.channels_last))
    return len(called)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_a_fused_network_is_that_of_the_network(name: str) -> None:
    plain, fused = built(name), built(name)
    number, norms = NETWORKS[name]
    assert sum(type(module) is nn.BatchNorm2d for module in plain.modules()) == norms
    assert fuse_units(fused) == number
    assert close(step(plain), step(fused))
    assert calls_of(fused) == number
    assert plain.state_dict().keys() == fused.state_dict().keys()
    assert [n for n, _ in plain.named_modules()] == [n for n, _ in fused.named_modules()]


def test_evaluation_copies_and_pickles_are_those_of_the_network() -> None:
    plain, fused = built("resnet20").eval(), built("resnet20").eval()
    fuse_units(fused)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert calls_of(fused) == 0
    for other in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert torch.equal(plain(images), other(images))
    kinds = [type(module) for module in plain.modules()]
    assert [type(module) for module in copy.deepcopy(fused).modules()] == kinds
    assert [type(module) for module in fused.modules()] != kinds


def test_a_copy_of_a_fused_network_has_its_own_weights() -> None:
    fused = built("resnet20")
    fuse_units(fused)
    twin = copy.deepcopy(fused)
    nn.init.zeros_(fused.get_submodule("layer1.0.conv1").weight)
    assert close(step(twin), step(built("resnet20")))


def test_hooks_see_what_they_see_without() -> None:
    plain, fused = built("resnet20"), built("resnet20")
    fuse_units(fused)
    seen: dict[str, list[Tensor]] = {"plain": [], "fused": []}
    for key, net in (("plain", plain), ("fused", fused)):
        for name in ("layer1.0", "layer1.0.bn1", "layer2.0.drop", "layer3.1.conv2"):
            net.get_submodule(name).register_forward_hook(
                lambda _m, _x, y, key=key: seen[key].append(y.detach().clone())
            )
    assert close(step(plain), step(fused))
    assert len(seen["plain"]) == 4
    assert close(seen["plain"], seen["fused"])


def test_recomputed_units_give_the_same_step() -> None:
    plain, fused = built("resnet20"), built("resnet20")
    models.recompute(fused)
    assert fuse_units(fused) == 19
    assert close(step(plain), step(fused))


def test_normalisations_replaced_afterwards_are_computed_as_they_are() -> None:
    fused = built("resnet20")
    fuse_units(fused)
    unit = fused.get_submodule("layer1.0")
    unit.bn1, unit.drop = nn.Identity(), nn.Dropout(0.0)
    assert calls_of(fused) == 17
    assert issubclass(SyncBatchNorm, nn.BatchNorm2d)
    assert SyncBatchNorm is not nn.BatchNorm2d


def test_a_killed_run_goes_on_to_the_same_weights_on_any_number_of_threads(tmp_path: Path) -> None:
    dataset, recipe = few_digits(50), replace(SHORT, model="resnet20", average=0.9)

    def fit(out: Path, resume: bool = False, machine: hardware.Hardware = FUSED) -> Path:
        return loop.train(dataset, recipe, out, machine, QUIET, resume, EVERY_2)

    whole, cut = fit(tmp_path / "whole"), tmp_path / "cut"
    with killed_at(4):
        fit(cut)
    fit(cut, resume=True)
    assert same(weights(whole), weights(cut))
    plain = fit(tmp_path / "plain", machine=replace(FUSED, fused_units=False))
    assert losses(plain) == pytest.approx(losses(whole), rel=0.05)
    assert losses(plain) != losses(whole)
    assert read_manifest(whole).hardware["fused_units"] == "on"
    assert read_manifest(plain).hardware["fused_units"] == "off"


def test_a_run_from_before_there_were_fused_units_goes_on_without(tmp_path: Path) -> None:
    import json

    run = loop.train(few_digits(50), replace(SHORT, epochs=1), tmp_path / "run", FUSED, QUIET)
    values = json.loads((run / "run.json").read_text())
    del values["hardware"]["fused_units"]
    (run / "run.json").write_text(json.dumps(values))
    assert read_manifest(run).hardware["fused_units"] == "off"


def test_units_are_fused_by_default_where_there_are_matrix_units(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in (({"amx_bf16": True}, True), ({"avx512_bf16": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: {"cpu_name": "Test CPU", **flags})
        assert hardware.decide("cpu").fused_units is expected
        assert hardware.decide("cpu", fused_units="on").fused_units
        assert not hardware.decide("cpu", fused_units="off").fused_units
        assert not hardware.decide("cpu", channels_last="off", fused_units="on").fused_units
        assert not hardware.decide("cpu", compile_="on", fused_units="on").fused_units
        assert hardware_arguments(hardware.decide("cpu"))["fused_units"] == ("on" if expected else "off")


def test_studies_train_without_fused_units() -> None:
    assert not Machine("cpu").decide().fused_units
