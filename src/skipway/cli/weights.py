"""`skipway weights`: named weights listed, fetched and verified, and anyone's made into a bundle.

Nothing heavy is imported before a verb runs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from skipway.cli.options import JsonOption, console, print_json
from skipway.errors import SkipwayError, UnknownNameError, matching

weights_app = typer.Typer(
    help="Pretrained weights: list, fetch, verify, make into a bundle.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WHICH = "A name from `skipway weights list`, embedded, a file, a bundle, or hf:owner/repository[@revision][/file]."
ModelOption = Annotated[str | None, typer.Option(help="The network; named weights know theirs.")]


def print_aligned(rows: list[dict[str, str]]) -> None:
    """Dicts of equal keys under each other. A narrow terminal wraps lines and cuts no name, which people copy."""
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    for line in ({key: key for key in widths}, *rows):
        print("  ".join(line[key].ljust(width) for key, width in widths.items()).rstrip())


@weights_app.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'resnet50.*'.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """List named weights with their published accuracy, its source, and their licence."""
    from skipway.models.pretrained.registry import all_weights

    known = all_weights()
    found = [known[name] for name in matching(known, pattern)]
    if not found:
        raise UnknownNameError("weights", pattern, known, "`skipway weights list` names all of them")
    if as_json:
        from dataclasses import asdict

        print_json([{**asdict(w), "classes": len(w.classes)} for w in found])
        return
    rows = [
        {
            "name": w.name,
            "top-1": "" if w.top1 is None else f"{w.top1:.2f}",
            "top-5": "" if w.top5 is None else f"{w.top5:.2f}",
            "box AP": "" if w.box_ap is None else f"{w.box_ap:.1f}",
            "mIoU": "" if w.miou is None else f"{w.miou:.1f}",
            "on": w.data,
            "pixels": f"{w.size} of {w.resize}",
            "by": w.source,
            "licence": w.licence,
        }
        for w in found
    ]
    print_aligned(rows)


@weights_app.command()
def fetch(names: Annotated[list[str], typer.Argument(help="Names, or hf:owner/repository.")]) -> None:
    """Download weights into the cache, check them whole, and print where they are."""
    from skipway.models.pretrained.weights import locate

    for name in names:
        print(locate(None, name)[0])


@weights_app.command()
def verify(
    which: Annotated[str, typer.Argument(help=WHICH)], model: ModelOption = None, as_json: JsonOption = False
) -> None:
    """Check weights: their checksum where one is known, and with a network every name and shape.

    Exit code 2 when they do not fit, after a table of what is missing, unexpected or of another shape.
    """

    from skipway import models
    from skipway.commands import import_weights
    from skipway.download import digest
    from skipway.hardware import ShapesOnly
    from skipway.models.pretrained.state_dict_check import MismatchError, compare, without_unexpected
    from skipway.models.pretrained.weights import find, unused_note

    pretrained = find(model, which)
    record = pretrained.record
    model = model or (record.net if record else None)
    found: dict[str, Any] = {
        "file": str(pretrained.file),
        "bytes": pretrained.file.stat().st_size,
        "sha256": digest(pretrained.file, "sha256"),
        "known as": record.name if record else "",
        "tensors": len(pretrained.weights),
        "note": "; ".join(pretrained.read),
        "translation": pretrained.translation,
    }
    mismatch = None
    strangers: list[str] = []
    if model is not None:
        try:
            with ShapesOnly():
                net = models.build(**import_weights.network_of(model, pretrained))
            weights, strangers = without_unexpected(net, pretrained.weights)
            mismatch = compare(net, weights)
        except MismatchError as fault:  # so different that not even classes and channels can be told
            mismatch = fault.mismatch
        found["fits"] = "" if mismatch else model
    found["unused"] = "; ".join(unused_note([*pretrained.unused, *strangers]))
    if as_json:
        print_json({**found, "mismatch": mismatch.rows() if mismatch else []})
    else:
        for key, value in found.items():
            if value != "":
                console().print(f"{key} {value}", soft_wrap=True)
        if mismatch:
            print_aligned(mismatch.rows())
    if model is not None and mismatch:
        raise MismatchError(model, mismatch)


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """`0.5,0.5,0.5` as numbers. Raises SkipwayError."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SkipwayError(f"{option} {text} is not a list of numbers: write for instance 0.485,0.456,0.406") from None


@weights_app.command()
def bundle(
    which: Annotated[str, typer.Argument(help=WHICH)],
    out: Annotated[Path, typer.Option(help="A new folder for the bundle.")],
    model: ModelOption = None,
    classes: Annotated[str | None, typer.Option(help="imagenet, cifar10, or a file with a name a line.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Pixels a side that the network sees.")] = None,
    resize: Annotated[int | None, typer.Option(min=1, help="Shorter side, in pixels, before the crop.")] = None,
    mean: Annotated[str | None, typer.Option(help="Per channel, for values in [0, 1]: 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Per channel, likewise.")] = None,
) -> None:
    """Make a bundle of weights, for `skipway eval`, `predict` and everything else that takes one.

    Examples: skipway weights bundle resnet50.tv_v2 --out runs/r50 | skipway weights bundle net.th --model resnet20
    --classes cifar10 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out runs/r20
    """
    from skipway.commands import import_weights

    feeding = import_weights.InputOptions(classes, size, resize, numbers("--mean", mean), numbers("--std", std))
    card, said = import_weights.import_weights(which, out, model, feeding)
    for phrase in said:
        console().print(phrase, soft_wrap=True)
    shown = card.preprocessing
    console().print(
        f"{out}: {card.network['name']}, {card.parameters:,} parameters, {len(card.classes)} classes, "
        f"{shown['size']} of {shown['resize']} pixels, {shown['filter']}, mean {shown['mean']}, std {shown['std']}",
        soft_wrap=True,
    )
