"""The network in int8, by NNCF, behind a gate: accepted only if it is about as accurate as the network was.

Calibration images go through the model's own preprocessing; the gate's images are others than those. When everything in
int8 loses too much, the most sensitive layers keep a higher precision, as few of them as will do. What follows the last
layers stays in floating point: boxes are hundreds of pixels wide, and int8 has 256 levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor

from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Labels, map_labels
from skipway.deploy.engines.base import Engine, EngineInput, EngineMissingError, Notify, ignore_message
from skipway.deploy.export.formats import openvino_graph, quiet
from skipway.deploy.export.sensitivity import behind_layers, module_names, ranked
from skipway.deploy.sample_images import Samples, opened, source_of, spread, unseen_split
from skipway.errors import SkipwayError
from skipway.tasks import Task

CALIBRATION = 300  # images, NNCF's own default
GATE_BYTES = 1 << 30  # of images that the gate evaluates on at most; an even choice of more
TAPPED = 8  # images on which the layers are ranked
BATCH = 8

EngineOf = Callable[[Any], Engine]


@dataclass(frozen=True)
class QuantizationResult:
    """What the gate saw. reference, int8: the task's metric, in [0, 1]; drop and max_drop: in points.

    higher: the layers that kept a higher precision, by their names in the network, of `layers` in all; judged_on,
    calibrated_on: in words.
    """

    reference: float
    int8: float
    drop: float
    max_drop: float
    higher: tuple[str, ...]
    layers: int
    judged_on: str
    calibrated_on: str

    @property
    def accepted(self) -> bool:
        return self.drop <= self.max_drop

    def in_words(self) -> str:
        kept = (
            f"{len(self.higher)} of {self.layers} layers in higher precision" if self.higher else "every layer in int8"
        )
        return (
            f"int8 {100 * self.int8:.2f} %, eager {100 * self.reference:.2f} %: {self.drop:+.2f} points lost, at most "
            f"{self.max_drop:g} allowed, on {self.judged_on}; {kept}; calibrated on {self.calibrated_on}"
        )


def chosen_images(card: Card, data: str | None) -> tuple[Samples, Samples]:
    """Images to calibrate on and others to evaluate on: of train and val, or of the only split, shared out.

    Raises DataError where there are no labelled images.
    """
    dataset = source_of(card, data)
    name = unseen_split(dataset)
    judged = np.arange(len(dataset.split(name)))
    if name == "train":
        if len(judged) < 2:
            raise SkipwayError(
                f"{dataset.name} has one image: int8 needs images to calibrate on and others to evaluate on"
            )
        calibration = spread(len(judged), min(CALIBRATION, len(judged) // 2))
        judged = np.setdiff1d(judged, calibration)
    else:
        calibration = spread(len(dataset.train), CALIBRATION)
    shown = Preprocessing(**card.preprocessing)
    most = max(1, GATE_BYTES // (shown.channels * shown.canvas[0] * shown.canvas[1]))
    judged = judged[spread(len(judged), most)]
    return opened(dataset, "train", calibration, card), opened(dataset, name, judged, card)


def quantize(
    trained: EngineInput,
    images: tuple[Samples, Samples],
    max_drop: float,
    reference: Engine,
    made: EngineOf,
    say: Notify = ignore_message,
) -> tuple[Any, QuantizationResult]:
    """The ov.Model in int8 and what its gate saw. `made` gives the engine that will run it; `say` is told of each try.

    Raises SkipwayError when no mixture of precisions keeps the task's metric within `max_drop` points of `reference`'s.
    """
    task, (calibration, judged) = trained.task, images
    (pixels,) = calibration.inputs
    graph = openvino_graph(trained)
    before = metric_of(task, reference, judged)
    order, names, last = ranked(graph, pixels[:TAPPED]), module_names(graph, trained.net), behind_layers(graph)

    def attempt(count: int) -> tuple[Any, QuantizationResult]:
        """The `count` most sensitive layers in higher precision."""
        higher = order[:count]
        found = in_int8(graph, pixels, [*chain(*higher), *last])
        after = metric_of(task, made(found), judged)
        result = QuantizationResult(
            reference=before,
            int8=after,
            drop=100 * (before - after) * (1 if task.higher_is_better else -1),
            max_drop=max_drop,
            higher=tuple(names.get(uses[0], uses[0]) for uses in higher),
            layers=len(order),
            judged_on=judged.origin,
            calibrated_on=calibration.origin,
        )
        say(result.in_words())
        return found, result

    return fewest(attempt, len(order))


def fewest(attempt: Callable[[int], tuple[Any, QuantizationResult]], layers: int) -> tuple[Any, QuantizationResult]:
    """The accepted attempt with the fewest layers in higher precision: 0, 1, 2, 4, ..., then halved between the last
    that was refused and the first that was accepted, as if more such layers never lost more.

    Raises SkipwayError when none below `layers` is accepted.
    """
    refused = -1
    for count in [0, *(2**i for i in range(layers.bit_length()) if 2**i < layers)]:
        best = attempt(count)
        if best[1].accepted:
            break
        refused = count
    else:
        raise SkipwayError(f"int8 refused: {best[1].in_words()}; raise --max-drop, or export without --int8")
    while count - refused > 1:
        middle = (refused + count) // 2
        other = attempt(middle)
        if other[1].accepted:
            best, count = other, middle
        else:
            refused = middle
    return best


def in_int8(graph: Any, images: Tensor, higher: Sequence[str]) -> Any:
    """`graph` in int8 but for the operations named in `higher`. Raises EngineMissingError without nncf."""
    nncf = require_nncf()
    batches = nncf.Dataset([part.numpy() for part in images.split(BATCH)])
    with quiet():
        return nncf.quantize(
            graph.clone(),
            batches,
            subset_size=-(-len(images) // BATCH),
            ignored_scope=nncf.IgnoredScope(names=list(higher)) if higher else None,
        )


def metric_of(task: Task, engine: Engine, judged: Samples) -> float:
    """The figure that counts. Outputs are held for a few batches at a time: scores of pixels are many."""
    found, together = task.metrics(), engine.batch * engine.depth
    for start in range(0, len(judged.inputs[0]), together):
        place = slice(start, start + together)
        found.update(engine.outputs(*(given[place] for given in judged.inputs)), targets_at(judged, place))
    return found.compute()[task.metric]


def targets_at(judged: Samples, place: slice) -> Labels:
    """The targets of some of the images, which have them."""
    assert judged.targets is not None
    return map_labels(lambda whole: whole[place], judged.targets)


def require_nncf() -> Any:
    """The module. Raises EngineMissingError, naming the extra."""
    try:
        with quiet():
            import nncf
    except ImportError:
        raise EngineMissingError("nncf is not installed: pip install 'skipway[deploy]'") from None
    return nncf
