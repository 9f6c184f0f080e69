"""`skipway embed`: images as vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skipway.cli.options import DeviceOption, WorkersOption, console, decide, exit_if_unread, print_message
from skipway.cli.predict import EngineOption, ImagesArgument

if TYPE_CHECKING:
    pass

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN|NAME", help="A trained network's folder; weights such as embedded; or a network's name."
    ),
]


def embed(
    model: ModelArgument,
    images: ImagesArgument,
    out: Annotated[Path, typer.Option(help="A new file, .parquet or .npy (with the names beside it as .csv).")],
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Write an embedding of each image: the mean over positions of the network's last feature map.

    Exit code 1 when some could not be read: they have no embedding, and the reason is in the file.

    Examples: skipway embed runs/photos new/ --out new.parquet | skipway embed embedded new/ --out new.npy
    """
    from skipway.commands.embed import embed_files, write_embeddings
    from skipway.deploy.predict.writer import counted
    from skipway.embedding.features_file import writer_for

    writer_for(out)  # before any work
    embedder, embeddings = embed_files(model, images, engine, decide(device, workers=workers), print_message)
    count = write_embeddings(counted(embeddings, embedder.engine.name), embedder, model, out)
    written = count.images - count.unread
    console().print(f"{written:,} embeddings of {embedder.dimension:,} numbers: {out}", soft_wrap=True)
    exit_if_unread(count.unread, f" of {count.images}")
