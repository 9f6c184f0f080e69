"""`skipway eval`: how good a trained network is, and whether one is better than another."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, WorkersOption, console, decide, print_json
from skipway.errors import SkipwayError, refuse_if


def evaluate(
    runs: Annotated[list[str], typer.Argument(help="RUN [DATA]; with --on, runs alone.", metavar="RUN...")],
    on: Annotated[str | None, typer.Option(help="Images to evaluate every run on.", metavar="DATA")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test; default test, or else val.")] = None,
    protocol: Annotated[str, typer.Option(help="center, flip, ten-crop, multi-scale.")] = "center",
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Evaluate the average of the runs' probabilities.")
    ] = False,
    classifier: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Generators: finds the classes of samples, and gives features.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Generators: images to generate; 0: as many as suit.")] = 0,
    inception: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Generators: Inception's weights, for FID and KID.")
    ] = None,
    likelihood: Annotated[
        int, typer.Option(metavar="N", help="Generators: images whose bits per dimension are measured; 0: none.")
    ] = 0,
    far: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGES", help="Images of other kinds, to be told apart by the scores; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Evaluate a trained network, or compare several on the same images.

    Examples: skipway eval RUN | skipway eval RUN photos/test | skipway eval RUN OTHER --on photos/test |
    skipway eval RUN OTHER --on photos/test --ensemble | skipway eval GENERATOR --classifier RUN

    DATA is by default what the network was trained on. Compared runs are each tested against the first.
    """
    runs, data = split_runs_and_data(runs, on, ensemble)
    from skipway.commands import evaluate as command

    hardware = decide(device, workers=workers)
    progress = console(stderr=as_json)
    if len(runs) > 1 and not ensemble:
        refuse_if(
            classifier or samples or inception or likelihood or far,
            "--classifier, --samples, --inception, --likelihood and --far are for one run",
            "drop them",
        )
        compared = command.compare_runs(runs, data, split, out, hardware, progress, protocol)
        if as_json:
            print_json(compared.to_json())
        return
    found = command.evaluate(
        runs, data, split, out, hardware, progress, protocol, classifier, samples, inception, likelihood, far or ()
    )
    if as_json:
        rows = {"per_class": found.per_class} if hasattr(found, "per_class") else {}
        print_json({"split": found.scored.split, "data": found.scored.data, "metrics": found.metrics, **rows})


def split_runs_and_data(given: list[str], on: str | None, ensemble: bool) -> tuple[list[str], str | None]:
    """The runs and the data among what was given. Raises SkipwayError where they cannot be told apart."""
    if on is not None:
        if ensemble and len(given) < 2:
            raise SkipwayError("--ensemble averages at least two runs: name another")
        return given, on
    if len(given) > 2 or ensemble or (len(given) == 2 and Path(given[1], "card.json").is_file()):
        raise SkipwayError(
            "several runs need --on DATA, the images to evaluate them on: skipway eval RUN OTHER --on DATA"
        )
    return given[:1], given[1] if len(given) == 2 else None
