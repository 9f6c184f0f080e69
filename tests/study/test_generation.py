"""Study of a generator's U-Net."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from studied import Tiny
from torch.nn import functional

from skipway import models
from skipway.data.dataset import Split
from skipway.data.image_targets import GenerationTargets
from skipway.errors import DataError, SkipwayError
from skipway.models.generation.unet import Unit
from skipway.study.engine.report import png
from skipway.study.engine.runs import open_cut
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.generation import AT_TINY, BEFORE_TRAINING, COMPARED, STUDY
from skipway.study.experiments.generation_figure import LABELS, shaded_runs
from skipway.study.networks.unet_variants import (
    VARIANTS,
    no_shortcuts,
    not_zeroed,
    residual_units,
    variants_by_name,
)
from skipway.study.probes.velocity_training import GeneratorTraining, unit_gradients
from skipway.tasks import task_named

CLASSES = tuple("0123456789")


def built(name: str) -> models.generation.unet.VelocityUNet:
    """A variant for grey digits, always from the same seed."""
    torch.manual_seed(0)
    return VARIANTS[name](classes=10, channels=1)


def noisy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, times and labels."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 1, 8, 8, generator=generator), torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0, 3, 9, 10])


# ---------------------------------------------------------------------------------------------------------------------
# Networks


def test_the_first_network_is_unet8() -> None:
    torch.manual_seed(0)
    ours, known = built("unet8_residual1").state_dict(), models.create_generator("unet8", 10, 1).state_dict()
    assert ours.keys() == known.keys()
    torch.manual_seed(0)
    known = models.create_generator("unet8", 10, 1).state_dict()
    assert all(torch.equal(ours[key], known[key]) for key in known)


def test_a_unit_without_a_shortcut_is_its_branch_alone() -> None:
    net = built("unet8_plain1")
    for unit in residual_units(net):
        channels = unit.norm1.num_channels
        x, embedding = torch.randn(2, channels, 8, 8), torch.randn(2, unit.time_emb_proj.in_features)
        y = functional.silu(unit.norm1(x))
        y = unit.conv1(y if unit.resize is None else unit.resize(y))
        scale, shift = unit.time_emb_proj(embedding)[:, :, None, None].chunk(2, 1)
        y = unit.conv2(functional.silu(unit.norm2(y) * (1 + scale) + shift))
        torch.testing.assert_close(unit(x, embedding), y, rtol=1e-4, atol=1e-5)


def test_variants_start_from_equal_weights_but_for_what_is_varied() -> None:
    whole, random, plain = (built(f"unet8_{name}1").state_dict() for name in ("residual", "not_zeroed", "plain"))
    ends = [key for key in whole if "conv2" in key]
    assert all(not whole[key].any() for key in ends)
    assert all(random[key].std() > 0.01 for key in ends)
    assert all(torch.equal(plain[key], random[key]) for key in plain)
    assert all(torch.equal(random[key], whole[key]) for key in whole if key not in ends)
    assert {key.split(".")[-2] for key in whole.keys() - plain.keys()} == {"conv_shortcut"}


def count(name: str) -> int:
    return sum(p.numel() for p in built(name).parameters())


def test_variants_have_the_parameters_that_the_page_says() -> None:
    assert count("unet8_residual1") == count("unet8_not_zeroed1") == count("unet8_no_long_skips") == 341_345
    missing = 4 * (64 * 32 + 32)  # the shortcuts of the units on the way up, from two maps of 32 channels to one
    assert count("unet8_plain1") == 341_345 - missing
    assert round(100 * missing / 341_345, 1) == 2.4


def test_without_long_skips_the_way_up_does_not_depend_on_the_maps_of_the_way_down() -> None:
    for name, depends in (("unet8_residual1", True), ("unet8_no_long_skips", False)):
        net, found = built(name), []
        not_zeroed(net)
        level = net.up_blocks[-1]
        for seed in (0, 1):
            torch.manual_seed(seed)
            maps = [torch.randn(2, 32, 8, 8) for _ in range(3)]
            found.append(level(torch.ones(2, 32, 8, 8), torch.ones(2, 128), maps[1:]))
        assert torch.equal(*found) is not depends


def test_levels_without_long_skips_take_as_many_maps_as_others() -> None:
    for name in ("unet8_residual1", "unet8_no_long_skips"):
        maps = [torch.zeros(2, 32, 8, 8) for _ in range(3)]
        built(name).up_blocks[-1](torch.zeros(2, 32, 8, 8), torch.zeros(2, 128), maps)
        assert len(maps) == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_starts_at_velocity_0_and_has_a_label(name: str) -> None:
    net = built(name)
    assert not net(*noisy()).any()
    assert name in LABELS


def test_without_shortcuts_zeroed_branches_leave_nothing_to_learn_from() -> None:
    """Why networks without shortcuts are not zeroed: a check of the instrument, and no claim."""
    net = built("unet8_residual1")
    no_shortcuts(net)
    x, t, y = noisy()
    (net(x, t, y) - x).square().mean().backward()
    learning = [key for key, p in net.named_parameters() if p.grad is not None and p.grad.any()]
    assert learning == ["conv_out.bias"]


def test_variants_are_known_by_name_only_where_they_are_needed() -> None:
    before = models.list_generators()
    with variants_by_name():
        models.require_generator("unet8_plain4")
    assert models.list_generators() == before
    with pytest.raises(SkipwayError):
        models.require_generator("unet8_plain4")


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


def test_gradients_of_units_are_those_of_finite_differences() -> None:
    task, images = task_named("generate", CLASSES), torch.rand(2, 1, 8, 8, dtype=torch.float64) * 2 - 1
    split = Split(np.zeros((2, 8, 8, 1), np.uint8), GenerationTargets(np.array([1, 2])), ["a", "b"])
    net = built("unet8_not_zeroed1").double()
    torch.manual_seed(2)
    found = unit_gradients(net, task, images, split)
    units = residual_units(net)
    assert len(found) == len(units) == len([m for m in net.modules() if isinstance(m, Unit)])

    def slope(unit: Unit, step: float = 1e-5) -> float:
        """The norm of the gradient after a unit from the loss alone, along random directions."""
        squares = []
        for seed in range(64):
            losses = []
            for sign in (-1, 1):

                def moved(_: Any, __: Any, out: torch.Tensor, sign: int = sign, seed: int = seed) -> torch.Tensor:
                    generator = torch.Generator().manual_seed(seed)
                    return out + sign * step * torch.randn(out.shape, generator=generator, dtype=out.dtype)

                hook = unit.register_forward_hook(moved)
                with torch.no_grad():
                    losses.append(task.forward(net, images, split.targets.tensor(), 0)[0].mean().item())
                hook.remove()
            squares.append(((losses[1] - losses[0]) / (2 * step)) ** 2)
        return math.sqrt(sum(squares) / len(squares))

    ratio = slope(units[0]) / slope(units[-1])
    assert found[0] == pytest.approx(ratio, rel=0.3)  # 64 directions know a norm to about a tenth
    assert found[-1] == 1


def test_images_that_are_not_small_are_refused_in_one_line() -> None:
    class Context:
        dataset = open_cut("digits", 20)

    large = np.zeros((20, 16, 16, 1), np.uint8)
    context = Context()
    context.dataset = type(context.dataset)(
        "photos", CLASSES, Split(large, np.arange(20) % 10, list("abcdefghijklmnopqrst"))
    )
    with pytest.raises(DataError, match=r"photos has images of 16 pixels.*give --data digits"):
        _ = GeneratorTraining(context, 2).dataset  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts


def runs(test: float, train: float, first: float, gradients: tuple[float, float, float], seeds: int) -> list[Any]:
    """Runs of seeds that differ by thousandths."""
    return [
        {
            "seed": seed,
            "curve": [[22, first], [44, train]],
            "samples": ["00ff" * 32] * 10 if seed == 0 else [],
            "diverged": "",
            "gradients": list(gradients),
            **{key: value + 0.001 * seed for key, value in (("test", test), ("train", train), ("first", first))},
        }
        for seed in range(seeds)
    ]


def findings(contrary: bool = False, seeds: int = 3, steps: int = 240) -> dict[str, Any]:
    """Losses and gradients as the claims say, or the opposite of each."""
    sign = -1 if contrary else 1
    ranks = {  # held-out loss in tenths above 1, as the claims order the networks
        **{"residual1": 0, "residual2": -0.5, "residual4": -1, "plain1": 3, "plain2": 3.5, "plain4": 4},
        **{"not_zeroed1": 1, "not_zeroed4": 1, "no_long_skips": 2, "ddpm": 1, "ddpm_plain": 3},
    }
    networks = {}
    for name in VARIANTS:
        loss = 1 + sign * ranks[name.removeprefix("unet8_")] / 10
        gradients = (0.5, 0.4, 1.0) if "plain" in name else (2.0, 1.5, 1.0)
        if contrary:
            gradients = (3.0, 0.05, 1.0) if "plain" in name else (0.1, 0.2, 1.0)
        networks[name] = runs(loss, loss, loss, gradients, seeds)
    return {
        "steps": steps,
        "side": [8, 8],
        "untrained": 1.6,
        "parameters": dict.fromkeys(VARIANTS, 341_345),
        "networks": networks,
    }


def states(found: dict[str, Any]) -> dict[str, str]:
    """The study trains its generators itself: its result has no training runs, and therefore 0 steps."""
    return {v.claim: v.state for v in STUDY.decide_claims(STUDY.claims_by_name(), 0, found)}


def test_data_that_agree_support_every_claim_and_data_that_contradict_speak_against_every_one() -> None:
    assert set(states(findings()).values()) == {"supports"}
    assert set(states(findings(contrary=True)).values()) == {"speaks against"}
    assert set(COMPARED) | {"vanishing"} == set(states(findings()))


def test_one_contrary_measurement_speaks_against_its_claims_and_no_other() -> None:
    found = findings()
    found["networks"]["unet8_no_long_skips"] = runs(0.5, 0.5, 0.5, (2.0, 1.5, 1.0), 3)
    assert [claim for claim, state in states(found).items() if state != "supports"] == ["long-skips"]
    found = findings()
    found["networks"]["unet8_plain4"] = runs(1.4, 0.9, 1.4, (0.5, 0.4, 1.0), 3)
    assert [claim for claim, state in states(found).items() if state != "supports"] == ["degradation"]
    found = findings()
    found["networks"]["unet8_plain4"] = runs(1.4, 1.4, 1.4, (0.5, 0.05, 1.0), 3)
    assert [claim for claim, state in states(found).items() if state != "supports"] == ["vanishing"]


def test_two_seeds_decide_nothing_and_equal_networks_show_no_difference() -> None:
    for contrary in (False, True):
        assert set(states(findings(contrary, seeds=2)).values()) == {"not trained enough to tell"}
    equal = {name: runs(1.0, 1.0, 1.0, (1.0, 1.0, 1.0), 3) for name in VARIANTS}
    found = states(findings() | {"networks": equal})
    assert {found[claim] for claim in COMPARED} == {"no difference seen"}


def test_few_steps_leave_only_what_is_measured_before_training() -> None:
    for contrary, state in ((False, "supports"), (True, "speaks against")):
        found = states(findings(contrary, steps=239))
        assert {claim for claim, verdict in found.items() if verdict == state} == set(BEFORE_TRAINING)
        assert set(found.values()) == {state, "not trained enough to tell"}


def test_an_effect_is_in_per_cent_of_the_higher_loss_with_its_interval() -> None:
    verdicts = STUDY.decide_claims(STUDY.claims_by_name(), 0, findings())
    (effect,) = next(v.effects for v in verdicts if v.claim == "depth")
    interval = ttest_ind([1.0, 1.001, 1.002], [0.9, 0.901, 0.902]).confidence_interval(0.95)
    low, high = (100 * end / 1.001 for end in interval)
    assert (effect.estimate - effect.half_width, effect.estimate + effect.half_width) == pytest.approx((low, high))


# ---------------------------------------------------------------------------------------------------------------------
# Figure, and the whole study


def test_images_are_drawn_as_runs_of_equal_pixels() -> None:
    image = bytes([0, 255, 255, 0, 51, 0, 255, 255])
    assert list(shaded_runs(image, 4)) == [(5, 1, 0, 2), (1, 0, 1, 1), (5, 2, 1, 2)]


def test_the_study_trains_draws_and_decides_nothing_from_two_steps(tiny: Tiny) -> None:
    result = tiny("generation")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    found = result.findings
    assert list(found["networks"]) == list(AT_TINY)
    for network in found["networks"].values():
        assert all(0 < run["test"] < 2 * found["untrained"] for run in network)
        assert [len(image) for image in network[0]["samples"]] == [2 * 64] * 10
    assert found["networks"]["unet8_plain4"][0]["gradients"][-1] == 1
    assert [row[0] for row in STUDY.table(found).rows] == [LABELS[name] for name in AT_TINY]
    assert png(result).startswith(b"\x89PNG")


def test_the_loss_of_velocity_0_is_its_closed_form(tiny: Tiny) -> None:
    """E (noise - image)^2 is 1 plus the mean square of the pixels, up to the sample of noise."""
    test = open_cut("digits", SCALES["tiny"].images).test
    assert test is not None
    expected = 1 + float(np.square(np.asarray(test.items) / 127.5 - 1).mean())
    assert tiny("generation").findings["untrained"] == pytest.approx(expected, rel=0.05)
