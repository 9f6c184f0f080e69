"""The fields of a recipe: what each means, how it is parsed from text, and which values are valid."""

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

from skipway.errors import SkipwayError, UnknownNameError
from skipway.training.recipes import WHITE, Recipe

BLACK = (0, 0, 0)
FIELDS = get_type_hints(Recipe)
MEANING = {
    name: kind.__metadata__[0] for name, kind in get_type_hints(Recipe, include_extras=True).items() if name != "name"
}
POSITIVE = ("time_std", "batch", "val_every", "lr", "lr_batch", "rate_decay", "survival", "muon_rate")
AT_MOST_ONE = ("survival", "mosaic", "teacher_weight")
NOT_NEGATIVE = (
    *("size", "val", "seed", "epochs", "iterations", "momentum", "weight_decay", "warmup", "label_smoothing"),
    *(
        "mixup",
        "cutmix",
        "mosaic",
        "pad",
        "cutout",
        "average",
        "freeze",
        "small",
        "small_epochs",
        "channels",
        "micro",
        "crop_size",
        "clip",
        "label_dropout",
        "dropout",
        "average_width",
        "patience",
        "teacher_weight",
        "teacher_temperature",
        "unfreeze",
        "freeze_norm_epochs",
    ),
)
WIDEST = 0.28  # of a power-function average; that of equal weights is 1 / sqrt(12)
BELOW_ONE = ("val", "momentum", "beta2", "label_dropout", "dropout", "warmup", "label_smoothing", "average")


def parse(field: str, text: str) -> Any:
    """The command line's `text` as a value of recipe field `field`. Raises SkipwayError for an invalid one."""
    kind = FIELDS[field]
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if field == "background" and text in ("white", "black"):
            return WHITE if text == "white" else BLACK
        if get_origin(kind) is tuple:
            return tuple(get_args(kind)[0](part) for part in text.split(",") if text)
        if get_origin(kind) is Literal:
            return text
        return kind(text)
    except (ValueError, KeyError):
        type_texts = {bool: "true or false", int: "a whole number", float: "a number"}
        several = "white, black, or R,G,B" if field == "background" else "numbers joined by commas"
        expected = type_texts.get(kind, several)
        raise SkipwayError(f"--{field.replace('_', '-')} must be {expected}, not '{text}'") from None


def has_type(value: Any, kind: Any) -> bool:
    """Whether a value from JSON has the type of a field."""
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(has_type(one, get_args(kind)[0]) for one in value)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def from_json(values: Any) -> Recipe:
    """The recipe from its fields in JSON. Raises SkipwayError naming one that is missing, unknown or invalid."""
    if not isinstance(values, dict):
        raise SkipwayError("the recipe is not a JSON object")
    wrong = [name for name in FIELDS.keys() | values.keys() if name not in FIELDS or name not in values]
    wrong = wrong or [name for name, kind in FIELDS.items() if not has_type(values[name], kind)]
    if wrong:
        raise SkipwayError(f"the recipe's field {min(wrong)[:40]} is missing, unknown or of the wrong type")
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return validate_recipe(Recipe(**fields))


def validate_recipe(recipe: Recipe) -> Recipe:
    """`recipe` unchanged. Raises SkipwayError naming the first field with an invalid value."""
    values = dataclasses.asdict(recipe)
    for field, value in values.items():
        option = f"--{field.replace('_', '-')}"
        if get_origin(FIELDS[field]) is Literal and value not in get_args(FIELDS[field]):
            known = [one for one in get_args(FIELDS[field]) if one]
            raise UnknownNameError(option, value, known, f"one of {', '.join(known)}")
        if field in POSITIVE and not value > 0:
            raise SkipwayError(f"{option} must be above 0, not {value}")
        if field in NOT_NEGATIVE and not value >= 0:
            raise SkipwayError(f"{option} must not be negative, and is {value}")
        if field in AT_MOST_ONE and not value <= 1:
            raise SkipwayError(f"{option} must be at most 1, and is {value}")
        if field in BELOW_ONE and not value < 1:
            raise SkipwayError(f"{option} must be below 1, and is {value}")
    if not recipe.average_width < WIDEST:
        raise SkipwayError(f"--average-width must be below {WIDEST}, and is {recipe.average_width}")
    if not (recipe.epochs or recipe.iterations):
        raise SkipwayError("--epochs must be above 0, not 0")
    if len(recipe.factors) != len(recipe.milestones) + 1:
        raise SkipwayError(f"--factors must hold one number more than --milestones ({len(recipe.milestones)})")
    if bool(recipe.small) != bool(recipe.small_epochs):
        raise SkipwayError(
            "--small and --small-epochs must be given together: the size of the first crops, and how long"
        )
    if len(recipe.background) != 3 or not all(0 <= value <= 255 for value in recipe.background):
        given = ",".join(map(str, recipe.background))
        raise SkipwayError(f"--background must be white, black, or R,G,B of 0 to 255 each, not {given}")
    if recipe.freeze_norm and not recipe.pretrained:
        raise SkipwayError("--freeze-norm keeps pretrained statistics and needs --pretrained: set --freeze-norm false")
    if recipe.only_head and not recipe.pretrained:
        raise SkipwayError("--only-head trains a classifier on pretrained features: give --pretrained")
    require_partners(recipe)
    return recipe


def require_partners(recipe: Recipe) -> None:
    """Raises SkipwayError for a field without the one that it needs, or beside one that excludes it."""
    if recipe.unfreeze and recipe.only_head:
        raise SkipwayError("--unfreeze lets more layers learn, and --only-head none: leave one of them out")
    if recipe.freeze_norm and recipe.freeze_norm_epochs:
        raise SkipwayError("--freeze-norm-epochs ends what --freeze-norm keeps to the end: set --freeze-norm false")
    if recipe.freeze_norm_epochs and not recipe.pretrained:
        raise SkipwayError("--freeze-norm-epochs keeps pretrained statistics for a while: give --pretrained")
    lonely = [name for name in ("weight", "temperature") if getattr(recipe, f"teacher_{name}") and not recipe.teacher]
    if lonely:
        raise SkipwayError(f"--teacher-{lonely[0]} needs --teacher RUN")
