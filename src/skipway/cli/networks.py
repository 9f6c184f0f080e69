"""`skipway list`, `show`, `compare` and `doctor`: what there is, before anything is trained."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, PrecisionOption, console, decide, print_json
from skipway.errors import SkipwayError


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


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has and what skipway will use, and why; engines, once `predict` has measured them."""
    from skipway import showing
    from skipway.deploy.choose import doctor_rows

    rows = showing.machine_rows() + doctor_rows()
    if as_json:
        print_json(rows)
    else:
        showing.print_rows(rows, console())
