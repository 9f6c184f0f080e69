"""`skipway export`: a trained network in another format."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import JsonOption, console, print_json, print_message


def export(
    run: Annotated[str, typer.Argument(help="Folder of a trained network, or hf:owner/name[@revision].")],
    form: Annotated[str, typer.Option("--format", help="onnx, openvino, torch.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="A new folder; default RUN/exports/<format>.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="In int8, if its gate accepts it (OpenVINO).")] = False,
    max_drop: Annotated[float, typer.Option(min=0, help="Points of accuracy on val that int8 may lose.")] = 0.5,
    images: Annotated[list[str] | None, typer.Option(help="Images to prove it on; default the data's.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Data for the comparison and int8's gate; default the training's.")
    ] = None,
    nms: Annotated[
        bool, typer.Option("--nms", help="Suppress overlapping boxes inside, one image at a time (onnx, openvino).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a network: any batch, uint8 images in, normalisation inside; of a generator, the velocity of noisy images.
    Proven equal before it is written.

    Examples: skipway export RUN --format onnx | skipway export RUN --format openvino --int8
    """
    from skipway.commands.export import export as write_export

    done = write_export(run, form, out, int8, max_drop, images or (), data, nms, print_message)
    if as_json:
        print_json({"folder": str(done.folder), **done.evidence})
        return
    for batch, row in done.evidence["batches"].items():
        console().print(f"batch {batch}: {row['summary']}", soft_wrap=True)
    if done.evidence["whole"]:
        console().print(f"whole results: {done.evidence['whole']['summary']}", soft_wrap=True)
    compared = f"compared with {done.evidence['compared_with']}, on {done.evidence['images']}"
    outputs = ", ".join(output["name"] for output in done.evidence["outputs"])
    meaning = f"; probabilities = {done.evidence['probabilities']}" if done.evidence["probabilities"] else ""
    console().print(f"{compared}\noutputs {outputs}{meaning}", soft_wrap=True)
    console().print(str(done.folder), soft_wrap=True, markup=False)
