"""Choose the fastest engine that agrees with eager: measured once for each network, and remembered.

The measurement is sequential and short, so what is within a few percent of the fastest may change places with it; of
those, what starts soonest is taken, with its usual options.
"""

import hashlib
import json
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from skipway.bundle import Card, to_json, write_atomically
from skipway.deploy.engines import ENGINES, build
from skipway.deploy.engines.base import Engine, EngineInput, EngineMissingError, Goal, Notify, Options
from skipway.deploy.export.folder import exported_int8
from skipway.download import cache_folder
from skipway.errors import SkipwayError, first_line
from skipway.hardware import Hardware, device_name
from skipway.tasks.base import Outputs
from skipway.trained import TrainedModel

if TYPE_CHECKING:
    from skipway.deploy.sample_images import Samples

AUTO, REFERENCE = "auto", "eager"
SECONDS = 2.0  # of measuring each variant, at least
NEARLY = 1.15  # times the fastest one's time: a gain that a longer start and a noisy measurement may eat up
LIBRARIES = ("skipway", "torch", "openvino", "onnxruntime")


@dataclass(frozen=True)
class EngineTiming:
    """An engine with certain options, tried: images_per_s and milliseconds (the median call) are None where it cannot
    run; verdict: "agrees", "disagrees" or "missing"; note: how far it is from eager, or why it cannot run."""

    engine: str
    options: Options
    precision: str
    images_per_s: float | None
    milliseconds: float | None
    verdict: str
    note: str


@dataclass(frozen=True)
class EngineChoice:
    """What `select_engine` found: rows of everything tried, on which images, and the one it chose."""

    engine: str
    options: Options
    goal: str
    images: str
    network: str
    machine: str
    rows: tuple[EngineTiming, ...]


def measure_speed(engine: Engine, inputs: Sequence[Tensor], seconds: float = SECONDS) -> tuple[float, float]:
    """Images a second with `depth` calls under way, and the median milliseconds of a call by itself."""
    batch = [as_decoded(given[torch.arange(engine.batch) % len(given)]) for given in inputs]
    engine.submit(*batch).result()
    alone = []
    for _ in range(5):
        start = time.perf_counter()
        engine.submit(*batch).result()
        alone.append(time.perf_counter() - start)
    waiting: deque[Future[Outputs]] = deque()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or done < 2 * engine.depth:
        waiting.append(engine.submit(*batch))
        if len(waiting) >= engine.depth:
            waiting.popleft().result()
            done += 1
    done += len([waited.result() for waited in waiting])
    return done * engine.batch / (time.perf_counter() - start), 1000 * statistics.median(alone)


def as_decoded(given: Tensor) -> Tensor:
    """An input as it comes: images, as they were decoded, with their channels last."""
    return given.contiguous(memory_format=torch.channels_last) if given.dtype is torch.uint8 else given


def time_engines(trained: EngineInput, samples: "Samples", seconds: float = SECONDS) -> Iterator[EngineTiming]:
    """Every variant of every engine, eager first: whether it agrees on `samples`, and how fast it is."""
    expected = build(REFERENCE, trained).outputs(*samples.inputs)
    for name, kind in ENGINES.items():
        try:
            variants = kind.variants(trained)
        except EngineMissingError as fault:
            yield EngineTiming(name, {}, "", None, None, "missing", str(fault))
            continue
        for options in variants:
            try:
                engine = kind.build(trained, options)
                found = trained.task.parity(expected, engine.outputs(*samples.inputs), engine.precision)
                speed, alone = measure_speed(engine, samples.inputs, seconds)
            except Exception as fault:  # whatever a library raises, the other engines have their turn
                yield EngineTiming(name, options, "", None, None, "missing", first_line(fault))
                continue
            verdict = "agrees" if found.agrees else "disagrees"
            yield EngineTiming(name, options, engine.precision, speed, alone, verdict, found.summary())


def fastest(rows: Sequence[EngineTiming], goal: str) -> EngineTiming:
    """The fastest among those that agree with eager: the most images a second, or for "latency" the shortest call.

    Of those within NEARLY of it the first: engines are tried in the order of how soon they start, and of each the usual
    options before others.
    """

    def slowness(row: EngineTiming) -> float:
        return (row.milliseconds or 0.0) if goal == "latency" else 1 / (row.images_per_s or 1e-9)

    agreed = [row for row in rows if row.verdict == "agrees"]
    best = min(map(slowness, agreed))
    return next(row for row in agreed if slowness(row) <= NEARLY * best)


def versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def machine_summary(hardware: Hardware) -> str:
    """What a measurement depends on besides the network: device, threads, system and libraries, in words."""
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{device_name(hardware.device)}, {hardware.threads} threads, {platform.system()}, {libraries}"


def folder_of(card: Card, hardware: Hardware) -> Path:
    """Where engines of this network on this machine are kept: another network, shape or version has another folder."""
    words = [card.weights_sha256, json.dumps(card.network, sort_keys=True), json.dumps(card.preprocessing), card.task]
    key = hashlib.sha256("\0".join([*words, machine_summary(hardware)]).encode()).hexdigest()[:32]
    return cache_folder() / "engines" / key


def read_choice(file: Path) -> EngineChoice | None:
    """A choice made earlier; None where there is none that can be read."""
    try:
        values = json.loads(file.read_bytes())
        rows = tuple(EngineTiming(**row) for row in values.pop("rows"))
        return EngineChoice(**values, rows=rows)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def select_engine(trained: EngineInput, card: Card, samples: Callable[[], "Samples"], say: Notify) -> EngineChoice:
    """The choice for this network, machine and goal: remembered, or else measured on `samples`, said and remembered.

    Raises SkipwayError where what was measured cannot be kept.
    """
    int8 = "-int8" if trained.int8 and trained.int8.is_dir() else ""  # one more engine to choose from
    file = folder_of(card, trained.hardware) / f"choice-{trained.goal}{int8}.json"
    known = read_choice(file)
    if known is not None:
        return known
    chosen = samples()
    say(f"measuring the engines on this machine, once for this network, with {chosen.origin}")
    rows = []
    for row in time_engines(trained, chosen):
        rows.append(row)
        say(format_row(row))
    best = fastest(rows, trained.goal)
    name = f"{card.network['name']}, {card.preprocessing['size']} pixels, weights {card.weights_sha256[:12]}"
    choice = EngineChoice(
        best.engine, best.options, trained.goal, chosen.origin, name, machine_summary(trained.hardware), tuple(rows)
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, to_json(asdict(choice)))
    except OSError as fault:
        raise SkipwayError(
            f"{file} cannot be written ({fault.strerror}): set SKIPWAY_CACHE to another folder"
        ) from None
    say(f"chosen and remembered in {file}: {best.engine} {format_options(best.options)}")
    return choice


def open_engine(
    name: str, model: TrainedModel, hardware: Hardware, goal: Goal, samples: Callable[[], "Samples"], say: Notify
) -> Engine:
    """The engine called `name` of a bundle's network, which is on `hardware`'s device: "auto" is the one that
    `select_engine` chooses.

    Raises UnknownNameError for a name that is none, EngineMissingError where it cannot run.
    """
    trained = replace(EngineInput.of(model, hardware), goal=goal)
    if name == REFERENCE:
        return build(name, trained)
    trained = replace(trained, store=folder_of(model.card, hardware), int8=exported_int8(model.folder))
    if name != AUTO:
        return build(name, trained)
    choice = select_engine(trained, model.card, samples, say)
    return build(choice.engine, trained, choice.options)


def format_options(options: Options) -> str:
    """Options in words, such as bfloat16, batch 8, 2 streams."""
    named = {"precision": "{}", "batch": "batch {}", "streams": "streams {}"}
    return ", ".join(named.get(key, f"{key} {{}}").format(value) for key, value in options.items())


def format_row(row: EngineTiming) -> str:
    """A row as one line."""
    label = f"{row.engine} {format_options(row.options)}".strip()
    if row.images_per_s is None or row.milliseconds is None:
        return f"  {label}: left out, {row.note}"
    speed = f"{row.images_per_s:.1f} images/s, {row.milliseconds:.1f} ms a call"
    return f"  {label}: {speed}; {row.verdict}: {row.note}"


def doctor_rows() -> list[dict[str, Any]]:
    """Every choice that this user's cache remembers, for `skipway doctor`: what was chosen, and the reason."""
    rows = []
    for file in sorted((cache_folder() / "engines").glob("*/choice-*.json")):
        choice = read_choice(file)
        if choice is None:
            continue
        speeds = [
            f"{r.engine} {r.images_per_s:.0f}/s"
            if r.images_per_s and r.verdict == "agrees"
            else f"{r.engine} {r.verdict}"
            for r in choice.rows
        ]
        value = f"{choice.engine} {format_options(choice.options)}".strip()
        why = f"measured on {choice.images}: {', '.join(speeds)}; remove {file} to measure again"
        rows.append({"what": f"engine for {choice.network}, {choice.goal}", "value": value, "why": why})
    return rows
