"""Predictions for images: `skipway predict`."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from skipway.commands.arguments import Folder
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.deploy.predict.image_paths import STANDARD_INPUT, Shard, images_of, shard_of_this_process
from skipway.deploy.predict.inputs import Picture
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.predict.scoring import SAMPLE
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.new_files import require_free
from skipway.tasks.base import AS_BUNDLED, Prediction


def predict(
    run: Folder,
    images: Picture | Iterable[Picture],
    top: int = 5,
    engine: str = "eager",
    hardware: Hardware | None = None,
    threshold: float | None = None,
    tiles: bool = False,
    every: int = 1,
) -> Prediction | Iterator[Prediction]:
    """The most likely classes of an image, or of each of several: `skipway.predict("runs/photos", "new.jpg").label`.

    Of a network that finds objects, those with a score of at least `threshold`, None for the card's. With `tiles`,
    objects and label maps are predicted at the image's own resolution. The path of a video stands for its frames, each
    or those that `every` divides, that of a zip archive for its images, that of a TIFF file for its pages.

    Whoever predicts more than once makes a `Predictor`, which loads the network once. Raises SkipwayError.
    """
    return Predictor(run, hardware, engine).predict(images, top, threshold, tiles, every)


def shard_for(images: Sequence[str], csv: Path | None) -> tuple[Shard, Path | None]:
    """This process's share of the images under torchrun, and its part of `csv`, which must not exist.

    Raises SkipwayError where several processes would mix their answers.
    """
    shard = shard_of_this_process()
    if shard.world > 1 and (csv is None or STANDARD_INPUT in images):
        raise SkipwayError(f"{shard.world} processes would mix their answers: give --csv, and no - for the images")
    if csv is not None:
        csv = shard.part(csv)
        require_free(csv, "--csv")
    return shard, csv


def predict_files(
    run: Folder,
    images: Sequence[str],
    shard: Shard,
    top: int = 5,
    engine: str = "eager",
    hardware: Hardware | None = None,
    notify: Notify = ignore_message,
    threshold: float | None = None,
    tiles: bool = False,
    unsure: float | None = None,
    protocol: str = AS_BUNDLED,
    every: int = 1,
) -> tuple[Predictor, Iterator[Prediction]]:
    """The predictor of `run`, and its predictions for this process's share of files, folders, videos and patterns.

    Engine "auto" is chosen on the first of them; unsure, protocol: as for `Predictor`. Raises SkipwayError.
    """
    waiting = shard.own(images_of(images))
    first = list(islice(waiting, SAMPLE)) if engine == "auto" else []
    predictor = Predictor(run, hardware, engine, sample=first, say=notify, unsure=unsure, protocol=protocol)
    return predictor, predictor.predict(chain(first, waiting), top, threshold, tiles, every)
