"""`skipway probe`: a baseline on frozen embeddings in seconds."""

from typing import Annotated

import typer

from skipway.cli.check import LabelColumnOption, LabelPatternOption
from skipway.cli.options import DeviceOption, JsonOption, WorkersOption, console, decide, print_json, print_message
from skipway.cli.predict import EngineOption

DataArgument = Annotated[str, typer.Argument(help="digits, cifar10, a folder, a table, parquet, tar shards, hf:...")]
ModelOption = Annotated[
    str, typer.Option(metavar="RUN|NAME", help="The network: a run's folder, weights' or a network's name.")
]


def probe(
    data: DataArgument,
    model: ModelOption = "embedded",
    label_column: LabelColumnOption = "",
    label_pattern: LabelPatternOption = "",
    as_json: JsonOption = False,
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Accuracy of a linear classifier and of nearest neighbours on embeddings by a network that is not trained.

    What training the whole network must beat. Evaluated on test, or else val, or else a fifth of train.

    Examples: skipway probe photos/ | skipway probe photos/ --model resnet50
    """
    from dataclasses import asdict

    from skipway.commands import probe as command
    from skipway.commands.summary import print_rows
    from skipway.data.read_options import ReadOptions

    reading = ReadOptions(label_column, label_pattern)
    found = command.probe(data, model, engine, decide(device, workers=workers), print_message, reading)
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [
        {
            "classifier": one.classifier,
            "accuracy": f"{100 * one.accuracy:.2f} %",
            "95 % interval": f"{100 * one.low:.2f} to {100 * one.high:.2f}",
            "split": one.split,
            "images": one.n,
            "fitted to": one.train,
            "seconds": f"{one.seconds:.1f}",
        }
        for one in found
    ]
    print_rows(rows, console())
