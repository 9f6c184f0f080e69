"""Device, precision, memory format and compilation, chosen once. `skipway doctor` prints them.

Each choice comes with its reason, because "why is it slow here" is the first question about any training run.
"""

import ctypes
import importlib.util
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from skipway.errors import SkipwayError
from skipway.kernels import library

Precision = Literal["auto", "float32", "bfloat16"]
Switch = Literal["auto", "on", "off"]
Net = TypeVar("Net", bound=nn.Module)
INITIALISERS = {
    *(nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_),
    *(Tensor.normal_, Tensor.uniform_),
}


# Memory limit of the container, in cgroup v2 and v1; "max" or a huge number where there is no limit.
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Hardware:
    """The hardware settings of a run.

    `workers` is the number of processes that decode large images; `compile_`: whether `torch.compile` wraps the
    network; `fused_units`: whether batch norm, addition and ReLU are computed together in training
    (training/fused_units.py); `reasons` maps each setting's name to why it has its value.
    """

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    compile_: bool
    threads: int
    workers: int
    fused_units: bool = False
    reasons: dict[str, str] = field(default_factory=dict, compare=False)

    def autocast(self) -> torch.autocast:
        """A context in which convolutions and matrix products run in `dtype`; has no effect for float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype is torch.bfloat16)

    def memory(self) -> int | None:
        """Total memory of the device in bytes; for the CPU, what this process may use; None if it is not known."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_properties(self.device).total_memory
        if not hasattr(os, "sysconf"):
            return None
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
        for file in CONTAINER_LIMITS:
            text = file.read_text().strip() if file.is_file() else "max"
            limits += [int(text)] if text.isdigit() else []
        return min(limits)

    def place(self, net: Net) -> Net:
        """`net` on the device in its memory format."""
        return net.to(self.device).to(memory_format=self.format_for(net))

    def format_for(self, net: nn.Module) -> torch.memory_format:
        """The memory format; contiguous where `net` says that this is faster."""
        slow = self.device.type == "cpu" and self.dtype is torch.bfloat16
        contiguous = slow and getattr(net, "contiguous_on_cpu", False)
        return torch.contiguous_format if contiguous else self.memory_format

    def place_images(self, images: Tensor) -> Tensor:
        """A batch (N, C, H, W) on the device in the memory format."""
        return images.to(self.device, non_blocking=True).contiguous(memory_format=self.memory_format)

    def summary(self) -> dict[str, str]:
        """The settings as text, for cards, logs and `doctor`."""
        return {
            "device": device_name(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "memory format": str(self.memory_format).removeprefix("torch."),
            "compile": "on" if self.compile_ else "off",
            "threads": str(self.threads),
            "workers": str(self.workers),
            "fused units": "on" if self.fused_units else "off",
        }


def available_cores() -> int:
    """The logical cores that this process may run on: fewer than the machine's in a container, or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next step; returns whether that was possible.

    glibc returns large blocks to the system, and each step then pays to get the same pages again: measured as a fifth
    of a training step's time (docs/log.md). The setting lasts until the process ends.
    """
    trim_threshold, mmap_threshold, most = -1, -3, 2**31 - 1  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    # older versions take 32 MiB at most; and any setting stops glibc from raising the threshold dynamically
    threshold_set = any(mallopt(mmap_threshold, size) for size in (2**30, 2**25))
    return threshold_set and bool(mallopt(trim_threshold, most))


def device_name(device: torch.device) -> str:
    """The marketing name of the processor or accelerator behind `device`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"{torch.cpu.get_capabilities().get('cpu_name', platform.machine())} ({available_cores()} logical cores)"
    return str(device)


def multiplies_bfloat16(device: torch.device) -> tuple[bool, str]:
    """Whether `device` has hardware for bfloat16, and the reason; emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        major = torch.cuda.get_device_capability(device)[0]
        return major >= 8, f"compute capability {major}.x"
    if device.type != "cpu":
        return False, f"not known for {device.type}"
    flags = torch.cpu.get_capabilities()
    for flag in ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16"):
        if flags.get(flag):
            return True, f"the processor has {flag}"
    return False, "the processor has no bfloat16 instructions"


def find_device(name: str) -> torch.device:
    """The device called `name`; "auto" prefers CUDA, then Apple's MPS, then the CPU. Raises SkipwayError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise SkipwayError(f"device '{name}' is not available: use --device auto or cpu") from None
    return device


def compiles_by_default(device: torch.device) -> tuple[bool, str]:
    """Whether networks are compiled for `device` unless said otherwise, and the reason."""
    if device.type != "cuda":
        return False, "no gain was measured on CPUs"
    if importlib.util.find_spec("triton") is None:
        return False, "Triton, which torch.compile needs on GPUs, is not installed"
    return True, "faster on GPUs"


def fuses_units(wanted: str, device: torch.device, channels_last: bool, compiled: bool) -> tuple[bool, str]:
    """Whether units are fused in training, and the reason; `wanted`: "on" fuses them wherever that is possible.

    By default on processors with matrix units alone: elsewhere convolutions take most of a step (docs/log.md).
    """
    if wanted == "off":
        return False, "as given"
    if device.type != "cpu" or compiled or not channels_last:
        return False, "for CPUs, channels-last, without torch.compile"
    kernels, why = library.load()
    matrix_units = torch.cpu.get_capabilities().get("amx_bf16", False)
    if kernels is None or wanted == "on":
        return kernels is not None, why
    return matrix_units, f"the processor has {'amx_bf16' if matrix_units else 'no matrix units'}; {why}"


def decide(
    device: str = "auto",
    precision: Precision = "auto",
    channels_last: Switch = "auto",
    compile_: Switch = "auto",
    workers: int | None = None,
    fused_units: Switch = "auto",
) -> Hardware:
    """The fastest known settings for this machine; settings that are given explicitly are used as given.

    Measured here (docs/log.md): channels-last and bfloat16 multiply training speed where the hardware supports them;
    `torch.compile` gained nothing on CPUs for these networks and costs 20 to 30 s, so "auto" compiles on GPUs only.
    `fused_units`, which only concern training, are left out where they are not possible, even if "on".

    Raises SkipwayError for a device that is not available or a value that is not one of the choices.
    """
    chosen = find_device(device)
    native, why = multiplies_bfloat16(chosen)
    use_bfloat16 = {"auto": native, "bfloat16": True, "float32": False}
    switch = {"on": True, "off": False}
    if precision not in use_bfloat16:
        raise SkipwayError(f"precision '{precision}' is not one of auto, float32, bfloat16")
    for option, value in (("channels-last", channels_last), ("compile", compile_), ("fused_units", fused_units)):
        if value not in {"auto", *switch}:
            raise SkipwayError(f"{option} '{value}' is not one of auto, on, off")
    if workers is not None and workers < 0:
        raise SkipwayError(f"workers must not be negative, got {workers}")
    use_channels_last = switch.get(channels_last, chosen.type in {"cpu", "cuda"})
    compiled, compile_reason = compiles_by_default(chosen)
    compiled = switch.get(compile_, compiled)
    fused, fused_reason = fuses_units(fused_units, chosen, use_channels_last, compiled)
    given = "as given"
    return Hardware(
        device=chosen,
        dtype=torch.bfloat16 if use_bfloat16[precision] else torch.float32,
        memory_format=torch.channels_last if use_channels_last else torch.contiguous_format,
        compile_=compiled,
        threads=torch.get_num_threads(),
        workers=min(8, available_cores()) if workers is None else workers,
        fused_units=fused,
        reasons={
            "device": "the first available of CUDA, MPS and CPU" if device == "auto" else given,
            "precision": why if precision == "auto" else given,
            "memory format": "faster for convolutions on this device" if channels_last == "auto" else given,
            "compile": compile_reason if compile_ == "auto" else given,
            "threads": "torch's choice; set OMP_NUM_THREADS to change it",
            "workers": "decoding processes: one per core, at most 8" if workers is None else given,
            "fused units": fused_reason,
        },
    )


class ShapesOnly(TorchFunctionMode):
    """Context in which networks are built with shapes but without data: a hundred take a second or two.

    Unlike the meta device alone, it skips random initialisation, which takes as long there as with data, and for which
    torch imports its compiler.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in INITIALISERS:
            return args[0] if args else given["tensor"]
        with torch.device("meta"):
            return func(*args, **given)
