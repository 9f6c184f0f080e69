"""What several verbs share: their options, the machine's settings, and how they print.

Nothing heavy is imported before a verb runs.
"""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skipway.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

    from skipway.hardware import Hardware

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, float32, bfloat16.")]
SwitchOption = Annotated[str, typer.Option(help="auto, on, off.")]
WorkersOption = Annotated[int | None, typer.Option(help="Processes that decode large images; default one a core.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Fetch nothing: use what is here already.")]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Of annotations, if not clear: voc, coco, yolo, masks (one an object); of label maps: semantic, "
        "voc-semantic, coco-semantic, cityscapes.",
    ),
]
IgnoreOption = Annotated[
    str, typer.Option(metavar="VALUES", help="Values or classes of masks that are not learnt, such as 0,void.")
]
ClassNamesOption = Annotated[
    str, typer.Option(metavar="NAMES", help="Of the values of masks, in order: sky,road,... or a file of them.")
]
TaskOption = Annotated[
    str, typer.Option("--task", metavar="NAME", help="What to learn instead of the annotations: generate.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def console(stderr: bool = False) -> "Console":
    """Names of files and classes are shown as they are: see `reporting.console`."""
    from skipway.reporting.console import LiteralConsole

    return LiteralConsole(stderr=stderr, highlight=False)


def go_offline(offline: bool) -> None:
    """Have nothing fetched by this process and those that it starts, if `offline`."""
    if offline:
        os.environ["SKIPWAY_OFFLINE"] = "1"


def print_json(value: Any) -> None:
    from skipway.json_text import to_json

    print(to_json(value))


def decide(
    device: str = "auto",
    precision: str = "auto",
    channels_last: str = "auto",
    compile_: str = "auto",
    workers: int | None = None,
    fused_units: str = "auto",
) -> "Hardware":
    """`hardware.decide`, of texts as they are typed or stand in a run's manifest."""
    from skipway import hardware

    return hardware.decide(device, precision, channels_last, compile_, workers, fused_units)  # type: ignore[arg-type]


def print_message(line: str) -> None:
    """A line on standard error, for what is not the result; lost where that cannot be written."""
    with suppress(OSError):
        print(printable(line), file=sys.stderr, flush=True)


def exit_if_unread(unread: int, of: str = "") -> None:
    """Exit code 1, and how many, where some images could not be read; of: among which, as " of 5"."""
    if unread:
        print_message(f"skipway: {unread}{of} images could not be read")
        raise typer.Exit(1)
