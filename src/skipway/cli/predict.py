"""`skipway predict`: labels for images."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, WorkersOption, console, decide, print_message

CsvOption = Annotated[
    Path | None, typer.Option(help="Write the answers to this new file; unreadable images have empty fields.")
]
ThresholdOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least score of an object; default the network's own.")
]
DrawOption = Annotated[Path | None, typer.Option(help="A new folder for the images with the objects drawn.")]
CocoOption = Annotated[Path | None, typer.Option(help="Write the objects to this new file in COCO's format.")]
EngineOption = Annotated[str, typer.Option(help="eager (evaluation's digits), auto (fastest that agrees), or a name.")]
HINT_AFTER = 30  # seconds of eager's work after which a faster engine is mentioned


def predict(
    run: Annotated[str, typer.Argument(help="Folder of a trained network, or of an export.")],
    images: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for paths on standard input.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each image.")] = 5,
    as_json: JsonOption = False,
    csv: CsvOption = None,
    threshold: ThresholdOption = None,
    draw: DrawOption = None,
    coco: CocoOption = None,
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Label images, or find objects in them. Exit code 1 when some could not be read; the others are answered.

    Folders are read in name order (those of more than 10,000 entries in the file system's). Under torchrun each process
    labels its share and writes a part of --csv.
    """
    import time

    from skipway.commands.predict import predict_files, shard_for
    from skipway.deploy.predict import writer

    shard, csv = shard_for(images, csv)
    if draw is not None:
        writer.require_new_folder(draw)
    if coco is not None:
        writer.require_free(coco, "--coco")
    hardware = decide(device, workers=workers)
    predictor, answers = predict_files(run, images, shard, top, engine, hardware, print_message, threshold)
    present = predictor.task.presenter
    start = time.perf_counter()
    predictions = writer.counted(answers, predictor.engine.name)
    if draw is not None:
        predictions = writer.drawn(predictions, present, predictor.classes, predictor.preprocessing, draw)
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
    seconds = time.perf_counter() - start
    if engine == "eager" and seconds > HINT_AFTER:
        print_message(
            f"{count.images / seconds:.0f} images/s; --engine auto may be several times faster, within its tolerance"
        )
    if count.unread:
        print_message(f"skipway: {count.unread} of {count.images} images could not be read")
        raise typer.Exit(1)
