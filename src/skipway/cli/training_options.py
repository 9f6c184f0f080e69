"""The options of verbs that train: data, recipe and machine, as `train` has them."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from skipway.cli.check import LabelColumnOption, LabelPatternOption
from skipway.cli.options import (
    ClassNamesOption,
    DeviceOption,
    FormatOption,
    IgnoreOption,
    OfflineOption,
    PrecisionOption,
    SwitchOption,
    TaskOption,
    WorkersOption,
    decide,
    go_offline,
)
from skipway.cli.train import BadOption, DataArgument, run_console, takes_recipe_fields
from skipway.errors import SkipwayError
from skipway.training.recipe_fields import parse

RecipeOption = Annotated[
    str | None, typer.Option(help="finetune, head, scratch, quick, ..., or a JSON file; default: what suits the data.")
]
OPTIONS: dict[str, tuple[Any, Any]] = {
    "recipe": (RecipeOption, None),
    "from_scratch": (Annotated[bool, typer.Option("--from-scratch", help="Without pretrained weights.")], False),
    "offline": (OfflineOption, False),
    "label_column": (LabelColumnOption, ""),
    "label_pattern": (LabelPatternOption, ""),
    "box_format": (FormatOption, ""),
    "ignore": (IgnoreOption, ""),
    "class_names": (ClassNamesOption, ""),
    "task": (TaskOption, ""),
    "bad": (BadOption, "error"),
    "device": (DeviceOption, "auto"),
    "precision": (PrecisionOption, "auto"),
    "channels_last": (SwitchOption, "auto"),
    "compile_": (Annotated[str, typer.Option("--compile", help="auto, on, off.")], "auto"),
    "workers": (WorkersOption, None),
}


@dataclass(frozen=True)
class TrainingArguments:
    """What was typed, as the commands take it. given: whether any of it was, besides the options of the machine."""

    data: str | None
    arguments: dict[str, Any]
    given: bool

    def require_data(self) -> str:
        """Raises SkipwayError where no data were named."""
        if self.data is None:
            raise SkipwayError("give the data to train on")
        return self.data


def takes_training(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb` the argument DATA, OPTIONS and an option for every field of a recipe; its parameter `training` gets
    them as TrainingArguments."""
    signature = inspect.signature(verb)
    own = [p for p in signature.parameters.values() if p.name != "training"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    data = inspect.Parameter("data", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=DataArgument)
    options = [
        inspect.Parameter(name, keyword, default=default, annotation=kind) for name, (kind, default) in OPTIONS.items()
    ]

    def with_training(data: str | None = None, *, fields: dict[str, str], **values: Any) -> None:
        verb(**{p.name: values.pop(p.name) for p in own}, training=typed(data, values, fields))

    with_training.__name__, with_training.__doc__ = verb.__name__, verb.__doc__
    fields = inspect.Parameter("fields", keyword, annotation=dict[str, str])
    with_training.__signature__ = signature.replace(parameters=[data, *own, *options, fields])  # type: ignore[attr-defined]
    with_training.__annotations__ = {p.name: p.annotation for p in [data, *own, *options]}
    return takes_recipe_fields(with_training)


def typed(data: str | None, values: dict[str, Any], fields: dict[str, str]) -> TrainingArguments:
    """The options as the arguments of `chosen_training.choose_training`, with the values of the recipe's fields."""
    changes = {name: parse(name, text) for name, text in fields.items()}
    if values["from_scratch"] and (values["recipe"] or changes.get("pretrained")):
        raise SkipwayError("--from-scratch chooses the recipe: leave out --recipe and --pretrained, or leave it out")
    go_offline(values["offline"])
    from skipway.data.read_options import ReadOptions

    names = ("label_column", "label_pattern", "box_format", "ignore", "class_names", "task")
    machine = {name: values[name] for name in ("device", "precision", "channels_last", "compile_", "workers")}
    arguments = {
        "recipe": values["recipe"],
        "hardware": decide(**machine) if any(value not in ("auto", None) for value in machine.values()) else None,
        "console": run_console(),
        "bad": values["bad"],
        "changes": changes,
        "reading": ReadOptions(*(values[name] for name in names)),
        "start": "scratch" if values["from_scratch"] else "pretrained",
    }
    reads = any(values[name] for name in names)
    given = bool(data or values["recipe"] or values["from_scratch"] or changes or reads or values["bad"] != "error")
    return TrainingArguments(data, arguments, given)
