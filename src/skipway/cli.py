"""The command line: one verb a function, each a few lines that call the package. Nothing heavy is imported before a
verb runs, so that `skipway --help` answers at once.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from skipway.cli_output import JsonOption, console, print_json
from skipway.cli_weights import weights_app
from skipway.errors import SkipwayError
from skipway.training.recipes import FIELDS, MEANING, find_recipe, parse

if TYPE_CHECKING:
    from skipway.hardware import Hardware

app = typer.Typer(
    name="skipway",
    help="Residual networks, whole: train, judge and use them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(weights_app, name="weights")

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, float32, bfloat16.")]
SwitchOption = Annotated[str, typer.Option(help="auto, on, off.")]
WorkersOption = Annotated[int | None, typer.Option(help="Processes that decode large images; default one a core.")]


def takes_recipe_fields(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb` an option for every field of a recipe, handed to its parameter `fields` as given text."""
    signature = inspect.signature(verb)
    own = [p for p in signature.parameters.values() if p.name != "fields"]

    def option(name: str, kind: Any) -> inspect.Parameter:
        words = "|".join(get_args(kind)) if get_origin(kind) is Literal else getattr(kind, "__name__", "")
        info = typer.Option(f"--{name.replace('_', '-')}", metavar=f"<{words}>", help=MEANING[name])
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, info]
        )

    options = [option(name, kind) for name, kind in FIELDS.items() if name != "name"]

    def with_fields(**values: Any) -> None:
        given = {p.name: values.pop(p.name) for p in options}
        verb(**values, fields={name: text for name, text in given.items() if text is not None})

    with_fields.__name__, with_fields.__doc__ = verb.__name__, verb.__doc__
    with_fields.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    with_fields.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
    return with_fields


@app.command()
@takes_recipe_fields
def train(
    data: Annotated[str, typer.Argument(help="digits, cifar10, cifar100, a folder of class folders, or parquet.")],
    *,
    recipe: Annotated[str | None, typer.Option(help="quick, modern, finetune, ...; default by image size.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; default runs/<data>-<model>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --out.")] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    channels_last: SwitchOption = "auto",
    compile_: Annotated[str, typer.Option("--compile", help="auto, on, off.")] = "auto",
    workers: WorkersOption = None,
    fields: dict[str, str],
) -> None:
    """Train a network on images; leaves a bundle and a report.

    Examples: skipway train digits | skipway train photos/ --model resnet50 --recipe finetune --out runs/flowers |
    skipway train cifar10 --model resnet56 --recipe he2015-cifar --seed 3

    Every option from --model on is a field of the recipe, and is as the recipe has it unless given.
    """
    chosen = find_recipe(recipe) if recipe else None
    values = {name: parse(name, text) for name, text in fields.items()}
    if resume and out is None:
        raise SkipwayError("--resume needs --out: the folder of the run to continue")
    from skipway import api
    from skipway.data import open_source

    hardware = decide(device, precision, channels_last, compile_, workers)
    source = open_source(data)
    chosen = replace(chosen or api.default_recipe(source), **values)
    folder = out or api.free_folder(source, chosen)
    try:
        api.train(source, chosen, folder, hardware, console(), resume)
    except KeyboardInterrupt:
        print(
            f"stopped; to continue: skipway train {data} --out {folder} --resume and the same options", file=sys.stderr
        )
        raise typer.Exit(130) from None


@app.command("eval")
def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a trained network.")],
    data: Annotated[str | None, typer.Argument(help="Images to judge it on; default what it was trained on.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test; default test, or else val.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and report.json.")] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Judge a trained network: accuracy with its interval, every class, every confusion."""
    from skipway import api

    found = api.evaluate(run, data, split, out, decide(device, workers=workers), console(stderr=as_json))
    if as_json:
        print_json({"split": found.split, "data": found.data, "metrics": found.metrics, "per_class": found.per_class})


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="Folder of a trained network.")],
    images: Annotated[list[str], typer.Argument(help="Files, folders or patterns.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each image.")] = 5,
    as_json: JsonOption = False,
    csv: Annotated[Path | None, typer.Option(help="Write file, class, probability to this new file.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Label images. Exit code 1 when some could not be read; the others are answered."""
    from skipway import api
    from skipway.deploy import answers
    from skipway.deploy.predictor import Predictor

    if csv is not None and csv.exists():
        raise SkipwayError(f"{csv} exists: choose another --csv")
    paths = api.expand(images)
    predictions = Predictor(run, decide(device)).predict(paths, top)
    if csv is not None:
        unread = answers.write_csv(predictions, csv)
    else:
        unread = answers.print_json_lines(predictions) if as_json else answers.print_table(predictions, console())
    if unread:
        print(f"skipway: {unread} of {len(paths)} images could not be read", file=sys.stderr)
        raise typer.Exit(1)


@app.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'resnet*'.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """List the networks: paper, depth, parameters, multiply-adds, published error, weights."""
    from skipway import showing

    rows = showing.network_rows(pattern)
    if as_json:
        print_json(rows)
    else:
        showing.print_networks(rows, console())


@app.command()
def show(
    names: Annotated[list[str], typer.Argument(help="A network's name, or two; `skipway list` prints them.")],
    image: Annotated[str, typer.Option("--input", help="3x224x224, or 224; default the paper's.")] = "",
    classes: Annotated[int | None, typer.Option(min=1, help="Outputs; default the paper's.")] = None,
    html: Annotated[Path | None, typer.Option(help="Draw them side by side on this new page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a network's layers with what each costs and sees, and its totals beside the published ones.

    Examples: skipway show resnet50 | skipway show resnet34 resnet50 --html both.html
    """
    from skipway import diagram, showing

    if len(names) > 2:
        raise SkipwayError(f"{len(names)} networks to show: give one or two")
    if html is not None:
        showing.require_new(html, "--html")
        showing.write_new(html, diagram.page(names, image, classes).encode())
        print(f"the page is {html}", file=sys.stderr if as_json else sys.stdout)
    found = [showing.network_layers(name, image, classes) for name in names if as_json or html is None]
    if as_json:
        print_json(found if len(names) > 1 else found[0])
        return
    for one in found:
        showing.print_layers(one, console())


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(help="Networks; `skipway list` prints them.")],
    measure: Annotated[bool, typer.Option(help="Measure speed and memory on this machine.")] = True,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time where speed is measured.")] = 16,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy against multiply-adds in this new PNG.")] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Compare networks: depth, parameters, multiply-adds, published error, speed and memory here."""
    from skipway import comparing, showing

    if plot is not None:
        showing.require_new(plot, "--plot")
        points = comparing.points_of(names)
    hardware = decide(device, precision) if measure else None
    rows = comparing.compare(names, hardware, batch)
    measured = comparing.settings(hardware, batch) if hardware else None
    if plot is not None:
        showing.write_new(plot, comparing.plot(points))
        if left_out := sorted(set(names) - {point["name"] for point in points}):
            print(f"not in the plot, since not judged on {points[0]['test']}: {', '.join(left_out)}", file=sys.stderr)
    if as_json:
        print_json({"networks": rows, "measured": measured})
    else:
        comparing.print_comparison(rows, measured, console())


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has and what skipway will use, and why."""
    from skipway import showing

    rows = showing.machine_rows()
    if as_json:
        print_json(rows)
    else:
        showing.print_rows(rows, console())


def decide(
    device: str = "auto",
    precision: str = "auto",
    channels_last: str = "auto",
    compile_: str = "auto",
    workers: int | None = None,
) -> "Hardware":
    from skipway import hardware

    return hardware.decide(device, precision, channels_last, compile_, workers)  # type: ignore[arg-type]


# typer re-exports only one leaf of the usage errors of the click that it carries; its parent is all of them.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line. A user's fault is one line on standard error and exit code 2, unless --debug is given."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(args=arguments, standalone_mode=False)
    except (SkipwayError, UsageError) as fault:
        if debug:
            raise
        text = fault.format_message() if isinstance(fault, UsageError) else str(fault)  # type: ignore[attr-defined]
        print(f"skipway: {' '.join(text.split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
