"""Inference of resnet50 for `benchmarks.gpu`: every engine, and what `auto` would choose.

Images go from the processor's memory to the scores back in it, as the package predicts, unless a side says otherwise.
"""

import gc
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.gpu_timing import Bench, SkippedError, Step, compare
from skipway import hardware, models
from skipway.data.preprocess import Preprocessing, for_photographs
from skipway.deploy.engines import ENGINES
from skipway.deploy.engines.base import (
    Engine,
    EngineInput,
    EngineMissingError,
    Goal,
    Options,
    run_synchronously,
    usual_batch,
)
from skipway.deploy.engines.selection import EngineTiming, fastest, measure_speed
from skipway.deploy.sample_images import generated
from skipway.errors import first_line
from skipway.hardware import Hardware
from skipway.tasks import Classify

CLASSES, SAMPLES = 1000, 64
TRIED: dict[str, tuple[Options, ...]] = {
    "eager": ({},),
    "folded": ({"precision": "bfloat16"},),
    "cuda-graphs": ({"precision": "float32"}, {"precision": "bfloat16"}),
    "compile": ({"precision": "bfloat16"},),
}


def spread(net: nn.Module, images: Tensor, settings: Hardware) -> nn.Module:
    """`net` with the statistics of `images` in its batch norms, and scores far apart, so that engines can agree."""
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(settings.place_images(images))
        for parameter in list(net.parameters())[-2:]:
            parameter.mul_(10)
    return net.eval()


def engine_rows(bench: Bench, trained: EngineInput, what: str) -> list[EngineTiming]:
    """Each engine's speed, and whether it agrees with eager."""
    rows = []
    for name, variants in TRIED.items():
        for options in variants:
            side = " ".join(["engine", name, *map(str, options.values())])
            try:
                rows.append(engine_row(bench, trained, name, options, what, side))
            except (SkippedError, EngineMissingError) as reason:
                bench.emit(what, side, skipped=str(reason))
            except Exception as fault:  # whatever a library raises, the other engines have their turn
                bench.emit(what, side, failed=f"{type(fault).__name__}: {first_line(fault)}")
            gc.collect()
    return rows


def engine_row(bench: Bench, trained: EngineInput, name: str, options: Options, what: str, side: str) -> EngineTiming:
    """As `deploy.engines.selection.time_engines` measures it."""
    samples, start = generated(trained.preprocessing, SAMPLES), time.perf_counter()
    if name == "compile":
        bench.require_compiler()
    expected = ENGINES["eager"].build(trained, {}).outputs(*samples.inputs)
    engine = ENGINES[name].build(trained, options)
    found = trained.task.parity(expected, engine.outputs(*samples.inputs), engine.precision)
    started = time.perf_counter() - start
    rate, alone = measure_speed(engine, samples.inputs, seconds_of(bench))
    verdict = "agrees" if found.agrees else "disagrees"
    bench.emit(
        what,
        side,
        images_per_s=round(rate, 1),
        ms=round(alone, 3),
        batch=engine.batch,
        start_s=round(started, 1),
        with_eager=verdict,
    )
    return EngineTiming(name, options, engine.precision, rate, alone, verdict, found.summary())


def seconds_of(bench: Bench) -> float:
    """How long each engine is measured."""
    return 0.05 if bench.dry else 2.0


def by_hand(net: nn.Module, preprocessing: Preprocessing, settings: Hardware, dtype: torch.dtype, batch: int) -> Engine:
    """The network itself in `dtype`, from uint8 images on the processor to scores there."""
    whole = settings.place(net).to(dtype).eval()

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        there = settings.place_images(preprocessing.normalised(images.to(settings.device)).to(dtype))
        return whole(there).float().cpu()

    return Engine("by hand", str(dtype), {}, batch, 1, run_synchronously(run))


def resnet50(bench: Bench) -> None:
    """Batches of one image, and of 256: engines, the network by hand, and the network alone."""
    name, size = ("resnet18", 64) if bench.dry else ("resnet50", 224)
    settings = hardware.decide(precision="float32", channels_last="on", compile_="off")
    preprocessing = for_photographs(size)
    images = generated(preprocessing, SAMPLES).inputs
    torch.manual_seed(0)
    net = spread(settings.place(models.build(name, CLASSES)), preprocessing.normalised(images[0]), settings)
    task = Classify(tuple(f"class {i}" for i in range(CLASSES)))
    goals: tuple[Goal, ...] = ("latency", "throughput")
    for goal in goals:
        trained = EngineInput(net, task, preprocessing, settings, goal)
        batch = usual_batch(trained)
        what = f"inference {name}, {size} pixels, batch {batch}"
        for dtype in (torch.bfloat16, torch.float16):
            engine = by_hand(models.build(name, CLASSES), preprocessing, settings, dtype, batch)
            rate, alone = measure_speed(engine, images, seconds_of(bench))
            bench.emit(what, f"eager {short(dtype)}", images_per_s=round(rate, 1), ms=round(alone, 3))
        compare(bench, f"{what}, images on the device", on_device(bench, name, size, batch), batch)
        rows = engine_rows(bench, trained, what)
        if any(row.verdict == "agrees" for row in rows):
            best = fastest(rows, goal)
            rate, alone = best.images_per_s or 0.0, best.milliseconds or 0.0
            chosen = f"{best.engine} {best.precision}"
            bench.emit(what, "auto", chosen=chosen, images_per_s=round(rate, 1), ms=round(alone, 3))


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def on_device(bench: Bench, name: str, size: int, batch: int) -> dict[str, Callable[[], Step]]:
    """The network alone in both half precisions, eager and recorded, from images on the device to scores on it."""

    def side(dtype: torch.dtype, graphs: bool) -> Callable[[], Step]:
        def make() -> Step:
            if graphs:
                bench.require_cuda("recording")
            settings = hardware.decide(precision="float32", channels_last="on", compile_="off")
            net = settings.place(models.build(name, CLASSES)).to(dtype).eval()
            images = settings.place_images(torch.randn(batch, 3, size, size)).to(dtype)
            return recorded(net, images) if graphs else lambda: forward(net, images)

        return make

    both = (torch.bfloat16, torch.float16)
    return {f"{how} {short(dtype)}": side(dtype, how != "eager") for how in ("eager", "CUDA graph") for dtype in both}


@torch.no_grad()
def forward(net: nn.Module, images: Tensor) -> None:
    net(images)


def recorded(net: nn.Module, images: Tensor) -> Step:
    """The forward pass as a CUDA graph."""
    graph, beside = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            forward(net, images)
    torch.cuda.current_stream().wait_stream(beside)
    with torch.cuda.graph(graph):
        forward(net, images)
    return graph.replay
