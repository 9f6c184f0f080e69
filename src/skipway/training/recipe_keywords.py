"""The fields of a recipe as keyword arguments: their types, for editors and type checkers, and their checks."""

import os
import reprlib
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, TypedDict, get_args, get_origin

import numpy as np

from skipway.errors import SkipwayError, UnknownNameError
from skipway.training.recipe_fields import FIELDS

KEYWORDS = {name: kind for name, kind in FIELDS.items() if name != "name"}  # the name stays that of the recipe


class RecipeFields(TypedDict, total=False):
    """Every field of `Recipe` but its name; see there for meanings and defaults."""

    model: str
    shortcut: str
    pretrained: str
    size: int
    channels: int
    fit: Literal["crop", "pad", "squash"]
    background: tuple[int, ...]
    val: float
    val_every: int
    patience: int
    seed: int

    epochs: int
    iterations: int
    batch: int
    micro: int
    sync_norm: bool

    optimiser: Literal["sgd", "adamw", "muon"]
    muon_rate: float
    lr: float
    lr_batch: int
    momentum: float
    beta2: float
    nesterov: bool
    weight_decay: float
    decay_all: bool

    schedule: Literal["step", "cosine", "onecycle", "linear", "poly", "wsd"]
    milestones: tuple[float, ...]
    factors: tuple[float, ...]
    warmup: float
    clip: float

    criterion: Literal["", "cross-entropy", "focal", "dice", "cross-entropy+dice"]
    balance: Literal["none", "weights", "sampler"]
    teacher: str
    teacher_weight: float
    teacher_temperature: float
    label_smoothing: float
    mixup: float
    cutmix: float
    mosaic: float
    crop: Literal["none", "pad", "resized", "scale"]
    pad: int
    crop_size: int
    flip: bool
    cutout: int
    colour: bool
    small: int
    small_epochs: int

    time_mean: float
    time_std: float
    label_dropout: float
    dropout: float

    average: float
    average_width: float
    zero_scale: bool
    survival: float
    recompute: Literal["auto", "on", "off"]
    only_head: bool
    freeze: int
    unfreeze: int
    freeze_norm: bool
    freeze_norm_epochs: int
    rate_decay: float


def field_values(values: Mapping[str, Any], others: Iterable[str] = ()) -> dict[str, Any]:
    """`values` of fields by name, converted to the fields' types: NumPy's numbers become Python's, lists tuples.

    Raises UnknownNameError for an unknown name, with the nearest one of the fields and of `others`, further arguments
    of the caller; SkipwayError for a value of the wrong type.
    """
    found = {}
    for name, value in values.items():
        if name not in KEYWORDS:
            known = [*KEYWORDS, *others]
            raise UnknownNameError("argument", name, known, "`skipway train --help` lists the fields of a recipe")
        try:
            found[name] = convert(value, KEYWORDS[name])
        except TypeError:
            given = " ".join(reprlib.repr(value).split())
            raise SkipwayError(f"{name} must be {type_text(KEYWORDS[name])}, not {given}") from None
    return found


def convert(value: Any, kind: Any) -> Any:
    """`value` in the type `kind` of a field. Raises TypeError where that would change its value."""
    if kind is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if kind is float and isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(convert(one, get_args(kind)[0]) for one in value)
    if kind is str and isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if (kind is str or get_origin(kind) is Literal) and isinstance(value, str):
        return str(value)
    raise TypeError


def type_text(kind: Any) -> str:
    """A description of a field's type."""
    if get_origin(kind) is tuple:
        return "a tuple of whole numbers" if get_args(kind)[0] is int else "a tuple of numbers"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return {bool: "True or False", int: "a whole number", float: "a number", str: "text"}[kind]
