"""`skipway predict`, `export` and `bench`: a trained network used."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, WorkersOption, console, decide, print_json
from skipway.errors import SkipwayError

HINT_AFTER = 30  # seconds of eager's work after which a faster engine is mentioned


def tell(line: str) -> None:
    """What is not the answer goes to standard error."""
    print(line, file=sys.stderr, flush=True)


def predict(
    run: Annotated[str, typer.Argument(help="Folder of a trained network, or of an export.")],
    images: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for paths on standard input.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each image.")] = 5,
    as_json: JsonOption = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write the answers to this new file; unreadable images have empty fields.")
    ] = None,
    engine: Annotated[str, typer.Option(help="eager (evaluation's digits), auto (fastest that agrees), or a name.")] = (
        "eager"
    ),
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Label images. Exit code 1 when some could not be read; the others are answered.

    Folders are read in name order (those of more than 10,000 entries in the file system's). Under torchrun each process
    labels its share and writes a part of --csv.
    """
    import time
    from itertools import chain, islice

    from skipway.deploy import answers, paths
    from skipway.deploy.predictor import SAMPLE, Predictor

    shard = paths.shard_of_this_process()
    if shard.world > 1 and (csv is None or paths.STANDARD_INPUT in images):
        raise SkipwayError(f"{shard.world} processes would mix their answers: give --csv, and no - for the images")
    if csv is not None:
        csv = shard.part(csv)
        answers.require_free(csv)
    waiting = shard.own(paths.images_of(images))
    first = list(islice(waiting, SAMPLE)) if engine == "auto" else []
    predictor = Predictor(run, decide(device, workers=workers), engine, sample=first, say=tell)
    start = time.perf_counter()
    predictions = answers.counted(predictor.predict(chain(first, waiting), top), predictor.engine.name)
    if csv is not None:
        count = answers.write_csv(predictions, csv, min(top, len(predictor.card.classes)))
    else:
        count = answers.print_json_lines(predictions) if as_json else answers.print_table(predictions, console())
    seconds = time.perf_counter() - start
    if engine == "eager" and seconds > HINT_AFTER:
        tell(f"{count.images / seconds:.0f} images/s; --engine auto may be several times faster, within its tolerance")
    if count.unread:
        tell(f"skipway: {count.unread} of {count.images} images could not be read")
        raise typer.Exit(1)


def export(
    run: Annotated[str, typer.Argument(help="Folder of a trained network.")],
    form: Annotated[str, typer.Option("--format", help="onnx, openvino, torch.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="A new folder; default RUN/exports/<format>.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="In int8, if its gate accepts it (OpenVINO).")] = False,
    max_drop: Annotated[float, typer.Option(min=0, help="Points of accuracy on val that int8 may lose.")] = 0.5,
    images: Annotated[list[str] | None, typer.Option(help="Images to prove it on; default the data's.")] = None,
    data: Annotated[str | None, typer.Option(help="Data to prove and judge on; default the training's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Export a network: any batch, uint8 images in, normalisation inside; proven equal before it is written.

    Examples: skipway export RUN --format onnx | skipway export RUN --format openvino --int8
    """
    from itertools import islice

    from skipway.deploy import paths
    from skipway.deploy.export import PROVEN_ON, Wanted
    from skipway.deploy.export import export as write

    shown = list(islice(paths.images_of(images), PROVEN_ON)) if images else []
    done = write(run, Wanted(form, out, shown, data, max_drop if int8 else None), tell)
    if as_json:
        print_json({"folder": str(done.folder), **done.evidence})
        return
    for batch, row in done.evidence["batches"].items():
        console().print(
            f"batch {batch}: probabilities differ by {row['largest']:.2g} at most (allowed {row['tolerance']:g}) from "
            f"{done.evidence['compared_with']}, {row['changed'] + row['close']} first classes changed",
            soft_wrap=True,
        )
    console().print(f"proven on {done.evidence['images']}", soft_wrap=True)
    console().print(f"outputs scores, and probabilities = {done.evidence['probabilities']}", soft_wrap=True)
    console().print(str(done.folder), soft_wrap=True, markup=False)


def bench(
    network: Annotated[str, typer.Argument(help="Folder of a trained network, or a name from `skipway list`.")],
    seconds: Annotated[float, typer.Option(min=0, help="To measure each engine for, at least.")] = 1.0,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Measure every engine here: images a second, and the latency of one image."""
    from dataclasses import asdict

    from skipway.deploy import bench as benching

    found = benching.bench(network, decide(device), tell, seconds)
    if as_json:
        print_json(asdict(found))
    else:
        benching.print_bench(found, console())
