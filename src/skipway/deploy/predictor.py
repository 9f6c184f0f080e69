"""From a bundle and images to the most likely classes, by the path that evaluation takes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from skipway import bundle, models
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Item
from skipway.deploy import engines
from skipway.deploy.choose import choose, folder_of
from skipway.deploy.contract import Engine, Goal, Say, Trained, silent
from skipway.deploy.folders import exported_int8
from skipway.deploy.pipeline import decoders, overlapped
from skipway.errors import DataError, SkipwayError
from skipway.hardware import Hardware, decide
from skipway.tasks import task_named

if TYPE_CHECKING:
    from skipway.deploy.samples import Samples

AUTO, REFERENCE = "auto", "eager"
SAMPLE = 16  # images that engines are compared on


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image: (class, probability) from the most likely on, or why it was not read."""

    name: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""


class Predictor:
    """A trained network ready to label images.

    hardware: this machine's best when None. engine: "eager" gives evaluation's figures digit for digit; "auto" measures
    the engines here once for each network and takes the fastest that agrees with eager; any other name of ENGINES is
    taken as it is. goal: many images a second ("throughput"), or one image soon ("latency"). sample: images that "auto"
    may compare engines on; without any, the training's own where they are at hand. say: what "auto" has to tell.

    Raises BundleError for a folder that is no bundle, SkipwayError for an engine that is unknown or missing here.
    """

    def __init__(
        self,
        folder: str | Path,
        hardware: Hardware | None = None,
        engine: str = REFERENCE,
        goal: Goal = "throughput",
        sample: Sequence[str | Path] = (),
        say: Say = silent,
    ) -> None:
        if goal not in ("throughput", "latency"):
            raise SkipwayError(f"goal '{goal}' is none of throughput, latency")
        self.hardware = hardware or decide()
        self.folder = Path(folder)
        net, self.card = bundle.load(self.folder, models.build)
        self.net = self.hardware.place(net)
        self.task = task_named(self.card.task, self.card.classes)
        self.preprocessing = Preprocessing(**self.card.preprocessing)
        self.decoders = decoders(self.hardware.workers)
        self.engine = self.engine_called(engine, goal, [Path(p) for p in sample], say)

    def engine_called(self, name: str, goal: Goal, sample: list[Path], say: Say) -> Engine:
        """The engine, made ready."""
        if name == REFERENCE:
            return engines.build(name, Trained(self.net, self.preprocessing, self.hardware, goal))
        trained = Trained(
            self.net,
            self.preprocessing,
            self.hardware,
            goal,
            store=folder_of(self.card, self.hardware),
            int8=exported_int8(self.folder),
            weights=self.card.weights_sha256,
        )
        if name != AUTO:
            return engines.build(name, trained)

        def found() -> "Samples":
            from skipway.deploy.samples import at_hand  # data sets, which labelling alone does not need

            return at_hand(self.card, sample, None, SAMPLE)

        choice = choose(trained, self.card, self.task, found, say)
        return engines.build(choice.engine, trained, choice.options)

    def predict(self, images: Iterable[str | Path | Item], top: int = 5) -> Iterator[Prediction]:
        """For each image (path, encoded bytes, or uint8 array (H, W, C)), its `top` classes, in order.

        An image that cannot be read gives a Prediction with `error`; the others are answered all the same. Images are
        taken a few batches ahead of the answers, however many there are.
        """
        named = (
            (str(image) if isinstance(image, str | Path) else f"image {i}", image) for i, image in enumerate(images)
        )

        def opened(pair: tuple[str, str | Path | Item]) -> Tensor:
            name, image = pair
            return self.preprocessing.open(Path(image) if isinstance(image, str) else image, name)

        for (name, _), found in overlapped(named, opened, self.engine, self.decoders):
            if isinstance(found, DataError):
                yield Prediction(name, error=str(found))
            else:
                yield Prediction(name, self.best(found, top))

    def best(self, scores: Tensor, top: int) -> tuple[tuple[str, float], ...]:
        """The `top` classes of scores (outputs,), the most likely first, with their calibrated probabilities."""
        found = self.task.probabilities(scores.unsqueeze(0), self.card.temperature)[0].topk(min(top, self.task.outputs))
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return tuple((self.task.classes[place], value) for place, value in pairs)
