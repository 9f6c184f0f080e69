"""What to compute on, decided once and with a reason for everything."""

import os
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from torch import nn

from skipway import hardware, models
from skipway.errors import SkipwayError
from skipway.hardware import Hardware, decide, find_device

NETWORKS = ["resnet20", "vgg11", "densenet121", "googlenet"]


@pytest.fixture
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def capable_of(monkeypatch: pytest.MonkeyPatch, **flags: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "Test CPU", **flags})


@pytest.mark.parametrize(
    ("flags", "dtype", "why"),
    [
        ({"amx_bf16": True}, torch.bfloat16, "the processor has amx_bf16"),
        ({"avx512_bf16": True}, torch.bfloat16, "the processor has avx512_bf16"),
        ({"bf16": True}, torch.bfloat16, "the processor has bf16"),
        ({"avx2": True, "amx_bf16": False}, torch.float32, "no bfloat16 instructions"),
        ({}, torch.float32, "no bfloat16 instructions"),
    ],
)
def test_bfloat16_is_chosen_where_the_processor_multiplies_it(
    flags: dict[str, bool], dtype: torch.dtype, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable_of(monkeypatch, **flags)
    chosen = decide("cpu")
    assert chosen.dtype is dtype
    assert why in chosen.reasons["precision"]


@pytest.mark.usefixtures("no_accelerator")
def test_without_an_accelerator_auto_is_the_processor_channels_last_and_uncompiled() -> None:
    chosen = decide()
    assert chosen.device == torch.device("cpu")
    assert chosen.memory_format is torch.channels_last
    assert not chosen.compile_
    assert "CUDA" in chosen.reasons["device"]


@pytest.mark.parametrize(("major", "dtype"), [(7, torch.float32), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_a_gpu_compiles_and_uses_bfloat16_from_ampere_on(
    major: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "find_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (major, 0))
    chosen = decide("cuda")
    assert chosen.dtype is dtype
    assert chosen.compile_
    assert chosen.memory_format is torch.channels_last
    assert f"{major}.x" in chosen.reasons["precision"]


def test_auto_prefers_cuda_then_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto").type == "mps"


def test_what_is_named_is_taken_as_named_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    capable_of(monkeypatch)
    chosen = decide("cpu", precision="bfloat16", channels_last="off", compile_="on", workers=3)
    assert chosen.dtype is torch.bfloat16
    assert chosen.memory_format is torch.contiguous_format
    assert chosen.compile_
    assert chosen.workers == 3
    assert [chosen.reasons[key] for key in ("device", "precision", "memory format", "compile", "workers")] == [
        "as given"
    ] * 5


def test_no_workers_can_be_asked_for() -> None:
    assert decide("cpu", workers=0).workers == 0


def test_workers_are_one_a_core_and_eight_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, 1), (2, 2), (64, 8)):
        monkeypatch.setattr(hardware, "available_cores", lambda c=cores: c)
        assert decide("cpu").workers == expected


def test_cores_that_the_process_may_not_use_are_not_counted() -> None:
    """As under taskset, and in a container with a set of processors."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no set of processors for a process")
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from skipway import hardware as h"
    code += "; print(h.available_cores(), h.decide('cpu').workers)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "1"]


def test_a_gpu_without_triton_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "find_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    chosen = decide("cuda")
    assert not chosen.compile_
    assert "Triton" in chosen.reasons["compile"]


def test_networks_made_without_memory_have_the_shapes_of_others_and_do_not_import_the_compiler() -> None:
    code = (
        "import sys; from skipway import hardware, models\n"
        f"with hardware.ShapesOnly(): nets = [models.build(n) for n in {NETWORKS}]\n"
        "print('torch._dynamo' in sys.modules, *(sum(p.numel() for p in n.parameters()) for n in nets))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = [sum(p.numel() for p in models.build(n).parameters()) for n in NETWORKS]
    assert said.stdout.split() == ["False", *map(str, expected)]


@pytest.mark.parametrize("device", ["gpu", "cuda:97", "cpu:x", "", "tpu", "meta"])
def test_a_device_that_cannot_compute_here_is_refused_by_name(device: str) -> None:
    with pytest.raises(SkipwayError, match=rf"device '{device}' is not available: use --device auto or cpu"):
        decide(device)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "float16"}, "precision 'float16' is not one of auto, float32, bfloat16"),
        ({"channels_last": "yes"}, "channels-last 'yes' is not one of auto, on, off"),
        ({"compile_": "true"}, "compile 'true' is not one of auto, on, off"),
        ({"workers": -1}, "workers must not be negative, got -1"),
    ],
)
def test_values_that_are_no_choice_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(SkipwayError) as caught:
        decide("cpu", **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast_computes_in_the_precision_and_float32_leaves_it_off(precision: str, dtype: torch.dtype) -> None:
    chosen = decide("cpu", precision=precision)
    layer = nn.Linear(4, 4)
    with chosen.autocast():
        assert torch.is_autocast_enabled("cpu") is (precision == "bfloat16")
        assert layer(torch.ones(1, 4)).dtype is dtype
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(("switch", "last"), [("on", True), ("off", False)])
def test_networks_and_images_are_placed_in_the_memory_format(switch: str, last: bool) -> None:
    chosen = decide("cpu", channels_last=switch)
    net = chosen.place(nn.Conv2d(3, 8, 3))
    images = chosen.place_images(torch.zeros(2, 3, 8, 8))
    for tensor in (net.weight, images):
        assert tensor.is_contiguous(memory_format=torch.channels_last) is last


def test_every_decision_has_a_plain_word_and_a_reason() -> None:
    chosen = decide("cpu", precision="float32")
    assert set(chosen.summary()) == set(chosen.reasons)
    assert all(chosen.reasons.values())
    assert len(chosen.summary()) == len(fields(Hardware)) - 1, "every field but the reasons themselves"
    assert chosen.summary()["precision"] == "float32"
    assert chosen.summary()["memory format"] == "channels_last"
    assert chosen.summary()["threads"] == str(torch.get_num_threads())
    assert "logical cores" in chosen.summary()["device"]
