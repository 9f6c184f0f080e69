"""The verbs, each joining rooms that do not know each other: what the command line and `import skipway` both call."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from torch import nn

from skipway import bundle, models
from skipway.bundle import Card
from skipway.data import open_source
from skipway.data.folder import images_below
from skipway.data.loader import natural_size
from skipway.data.source import Source, fingerprint, require_learnable
from skipway.errors import DataError
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.evaluate import evaluate as judge
from skipway.evaluation.report import write_report
from skipway.hardware import Hardware, decide
from skipway.training.loop import train as fit
from skipway.training.prepare import channels_of
from skipway.training.recipes import Recipe, find_recipe

QUIET = Console(quiet=True)


def default_recipe(source: Source) -> Recipe:
    """`quick` for small images, `modern` for photographs; nothing is downloaded unless asked for."""
    require_learnable(source)
    return find_recipe("quick" if natural_size(source.train, channels_of(source)) <= models.SMALL else "modern")


def free_folder(source: Source, recipe: Recipe) -> Path:
    """runs/<data>-<model>, with a number behind it when that is taken."""
    stem = f"{Path(source.name).resolve().stem}-{recipe.model}"
    number = 1
    while (folder := Path("runs", stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder


def train(
    data: str | Source,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    hardware: Hardware | None = None,
    console: Console = QUIET,
    resume: bool = False,
) -> Path:
    """Train on `data` (a name or path as `open_source` takes it), judge the result, and return its folder.

    The folder holds the bundle, metrics.jsonl, report.html and report.json. The report is on test where the data have
    one, otherwise on val. Raises SkipwayError for anything a user can mend.
    """
    source = open_source(data) if isinstance(data, str) else data
    recipe = recipe or default_recipe(source)
    hardware = hardware or decide()
    folder = fit(source, recipe, Path(out) if out else free_folder(source, recipe), hardware, console, resume)
    net, card = bundle.load(folder, models.build)
    evaluation = judge(hardware.place(net), card, source, None, hardware, trained_on=True)
    bundle.add_metrics(folder, evaluation.split, evaluation.metrics)
    report = write_report(
        folder, evaluation, card, read_records(folder), shlex.join(["skipway", "eval", str(folder), source.name])
    )
    print_result(evaluation, report, console)
    return folder


def evaluate(
    run: str | Path,
    data: str | Source | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    hardware: Hardware | None = None,
    console: Console = QUIET,
) -> Evaluation:
    """Judge the bundle `run` on `data` (None: what it was trained on) and write report.html and report.json to `out`.

    `out` is RUN/reports/<data>-<split> when None. Raises SkipwayError.
    """
    net, card = bundle.load(Path(run), models.build)
    source = data if isinstance(data, Source) else open_source(data or card.data["name"])
    hardware = hardware or decide()
    seen = fingerprint(source) == card.data["fingerprint"]
    evaluation = judge(hardware.place(net), card, source, split, hardware, trained_on=seen)
    folder = Path(out) if out else Path(run, "reports", f"{Path(source.name).name}-{evaluation.split}")
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["skipway", "eval", str(run), source.name, *(["--split", split] if split else [])])
    report = write_report(folder, evaluation, card, read_records(Path(run)), command)
    print_result(evaluation, report, console)
    return evaluation


def load(run: str | Path) -> tuple[nn.Module, Card]:
    """The network of a bundle, in evaluation mode on the CPU, and its card. Raises BundleError."""
    return bundle.load(Path(run), models.build)


def read_records(folder: Path) -> list[dict]:
    """The lines of a run's metrics.jsonl; none where a bundle came without."""
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def print_result(evaluation: Evaluation, report: Path, console: Console) -> None:
    """The accuracy with its interval, and where the report is."""
    m = evaluation.metrics
    low, high = m["top1_interval"]
    console.print(
        f"{evaluation.split} accuracy {100 * m['top1']:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}), "
        f"top-5 {100 * m['top5']:.2f} %, {m['n']:,} images\nreport {report}",
        soft_wrap=True,
    )


def expand(paths: Sequence[str]) -> list[Path]:
    """Files, folders (every image below) and glob patterns as files. Raises DataError for one that matches nothing."""
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            matches = images_below(path)
        elif any(c in text for c in "*?[") and not path.exists():
            matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        else:
            matches = [path]
        if not matches:
            raise DataError(f"{text} has no image: give files, folders or patterns")
        found += matches
    return found
