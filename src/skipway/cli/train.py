"""`skipway train`: every field of a recipe is an option of it."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from skipway.cli.options import DeviceOption, PrecisionOption, SwitchOption, WorkersOption, console, decide
from skipway.errors import SkipwayError
from skipway.training.fields import FIELDS, MEANING, checked, parse
from skipway.training.recipes import find_recipe


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


@takes_recipe_fields
def train(
    data: Annotated[str, typer.Argument(help="digits, cifar10, cifar100, a folder of class folders, or parquet.")],
    *,
    recipe: Annotated[str | None, typer.Option(help="quick, modern, finetune, ...; default by image size.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; default runs/<data>-<model>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --out.")] = False,
    bad: Annotated[str, typer.Option(help="Images that cannot be read: error, skip, quarantine.")] = "error",
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
    from skipway import api, checking, models
    from skipway.data import open_source
    from skipway.data.bad import policy_of

    policy = policy_of(bad)
    hardware = decide(device, precision, channels_last, compile_, workers)
    checked(replace(chosen or find_recipe("quick"), **values))  # before any image is opened
    if "model" in values:
        models.require_name(values["model"])
    size, channels = (values.get(name, getattr(chosen, name, 0)) for name in ("size", "channels"))
    source = checking.ready(open_source(data), policy, size, channels, console())
    chosen = replace(chosen or api.default_recipe(source), **values)
    folder = out or api.free_folder(source, chosen)
    try:
        api.train(source, chosen, folder, hardware, console(), resume, bad=None)
    except KeyboardInterrupt:
        print(
            f"stopped; to continue: skipway train {data} --out {folder} --resume and the same options", file=sys.stderr
        )
        raise typer.Exit(130) from None
