"""`skipway list`, `show` and `compare`: the networks, before anything is trained."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, PrecisionOption, console, decide, print_json
from skipway.errors import SkipwayError
from skipway.new_files import require_new, write_new


def list_(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'resnet*'.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """List the networks: paper, depth, parameters, multiply-adds, published error, weights."""
    from skipway.commands import summary

    rows = summary.network_rows(pattern)
    if as_json:
        print_json(rows)
    else:
        summary.print_networks(rows, console())


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
    from skipway.commands import summary
    from skipway.reporting import architecture

    if len(names) > 2:
        raise SkipwayError(f"{len(names)} networks to show: give one or two")
    if html is not None:
        require_new(html, "--html")
        write_new(html, architecture.page(names, image, classes).encode())
        print(f"the page is {html}", file=sys.stderr if as_json else sys.stdout)
    found = [summary.network_layers(name, image, classes) for name in names if as_json or html is None]
    if as_json:
        print_json(found if len(names) > 1 else found[0])
        return
    for one in found:
        summary.print_layers(one, console())


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
    from skipway.commands import compare as comparison

    if plot is not None:
        require_new(plot, "--plot")
        points = comparison.points_of(names)
    hardware = decide(device, precision) if measure else None
    rows = comparison.compare(names, hardware, batch)
    measured = comparison.settings(hardware, batch) if hardware else None
    if plot is not None:
        write_new(plot, comparison.plot(points))
        if left_out := sorted(set(names) - {point["name"] for point in points}):
            print(
                f"not in the plot, since not evaluated on {points[0]['test']}: {', '.join(left_out)}", file=sys.stderr
            )
    if as_json:
        print_json({"networks": rows, "measured": measured})
    else:
        comparison.print_comparison(rows, measured, console())
