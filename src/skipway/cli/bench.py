"""`skipway bench`: the speed of every engine on this machine."""

from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, console, decide, print_json, print_message


def bench(
    network: Annotated[
        str, typer.Argument(help="A trained network's folder or hf:owner/name, or a name from `skipway list`.")
    ],
    seconds: Annotated[float, typer.Option(min=0, help="To measure each engine for, at least.")] = 1.0,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Measure every engine here: images a second, and the latency of one image."""
    from dataclasses import asdict

    from skipway.commands.benchmark import benchmark
    from skipway.deploy.benchmark import print_benchmark

    found = benchmark(network, seconds, decide(device), print_message)
    if as_json:
        print_json(asdict(found))
    else:
        print_benchmark(found, console())
