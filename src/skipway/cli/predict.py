"""`skipway predict`: labels for images."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, WorkersOption, console, decide, exit_if_unread, print_message
from skipway.errors import refuse_if
from skipway.new_files import require_free

if TYPE_CHECKING:
    from skipway.deploy.predict.predictor import Predictor
    from skipway.deploy.predict.writer import Count
    from skipway.tasks.base import Prediction

ImagesArgument = Annotated[
    list[str], typer.Argument(help="Files, folders, patterns, videos, zip archives, or - for paths on standard input.")
]
CsvOption = Annotated[
    Path | None,
    typer.Option(
        help="Write the answers to this new file; unreadable images have empty fields. Names stand as they are: a "
        "spreadsheet takes one that begins with = for a formula, unless its column is imported as text."
    ),
]
ThresholdOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least score of an object; default the network's own.")
]
DrawOption = Annotated[Path | None, typer.Option(help="A new folder for the images with what was found drawn in.")]
MasksOption = Annotated[Path | None, typer.Option(help="A new folder for the class of each pixel, as PNG files.")]
CocoOption = Annotated[Path | None, typer.Option(help="Write what was found to this new file in COCO's format.")]
PolygonsOption = Annotated[
    bool, typer.Option("--polygons", help="With --json, the outlines of the classes besides their masks.")
]
TilesOption = Annotated[
    bool, typer.Option("--tiles", help="Objects, or the class of each pixel, at the images' own resolution, by tiles.")
]
UnsureOption = Annotated[
    float | None,
    typer.Option(
        metavar="ERROR", help="Mark answers as unsure so that at most this share of the others is wrong, as on val."
    ),
]
ProtocolOption = Annotated[str, typer.Option(help="center, flip, ten-crop: views whose probabilities are averaged.")]
EveryOption = Annotated[int, typer.Option(min=1, metavar="N", help="Of videos, one frame of N: 0, N, 2 N ...")]
EngineOption = Annotated[str, typer.Option(help="eager (evaluation's digits), auto (fastest that agrees), or a name.")]
HINT_AFTER = 30  # seconds of eager's work after which a faster engine is mentioned


def predict(
    run: Annotated[str, typer.Argument(help="Folder of a trained network or an export, or hf:owner/name[@revision].")],
    images: ImagesArgument,
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each image.")] = 5,
    as_json: JsonOption = False,
    csv: CsvOption = None,
    threshold: ThresholdOption = None,
    draw: DrawOption = None,
    masks: MasksOption = None,
    coco: CocoOption = None,
    polygons: PolygonsOption = False,
    tiles: TilesOption = False,
    unsure: UnsureOption = None,
    protocol: ProtocolOption = "center",
    every: EveryOption = 1,
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Label images, find objects in them, or name the class of every pixel.

    Exit code 1 when some could not be read. Folders are read in name order (those of more than 10,000 entries in the
    file system's), videos frame by frame. Under torchrun each process labels its share and writes a part of --csv.
    """
    import time

    from skipway.commands.predict import predict_files, shard_for
    from skipway.deploy.predict import writer

    shard, csv = shard_for(images, csv)
    refuse_if(polygons and not as_json, "--polygons are part of --json", "give both")
    for folder, option in ((draw, "--draw"), (masks, "--masks")):
        if folder is not None:
            writer.require_new_folder(folder, option)
    if coco is not None:
        require_free(coco, "--coco")
    hardware = decide(device, workers=workers)
    predictor, answers = predict_files(
        run, images, shard, top, engine, hardware, print_message, threshold, tiles, unsure, protocol, every
    )
    present = predictor.task.presenter.with_polygons() if polygons else predictor.task.presenter
    start = time.perf_counter()
    predictions = with_pictures(writer.counted(answers, predictor.engine.name), predictor, draw, masks)
    if coco is not None:
        count = writer.write_coco(predictions, present, predictor.classes, coco)
    elif csv is not None:
        count = writer.write_csv(predictions, present, csv, min(top, len(predictor.card.classes)))
    else:
        count = (
            writer.print_json_lines(predictions, present)
            if as_json
            else writer.print_table(predictions, present, console())
        )
    conclude(count, time.perf_counter() - start, engine)


def conclude(count: "Count", seconds: float, engine: str) -> None:
    """What is said after the answers. Exit code 1 where some images could not be read."""
    if engine == "eager" and seconds > HINT_AFTER:
        print_message(
            f"{count.images / seconds:.0f} images/s; --engine auto may be several times faster, within its tolerance"
        )
    exit_if_unread(count.unread, f" of {count.images}")


def with_pictures(
    predictions: "Iterator[Prediction]", predictor: "Predictor", draw: Path | None, masks: Path | None
) -> "Iterator[Prediction]":
    """`predictions`, of which drawings and masks go to these folders as they pass."""
    from skipway.deploy.predict import writer

    present = predictor.task.presenter
    if draw is not None:
        predictions = writer.drawn(predictions, present, predictor.classes, predictor.preprocessing, draw)
    return predictions if masks is None else writer.masked(predictions, present, masks)
