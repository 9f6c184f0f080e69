"""The card of a trained network: the fields of card.json, and which values of them are valid.

`decode` is the only way from the file's JSON to a `Card`. It checks what can be checked without the network and its
task; `trained.task_of` checks the rest.
"""

import dataclasses
import re
from typing import Any

from skipway.bundle.checks import (
    LARGEST_INTEGER,
    Check,
    count,
    fields,
    integer,
    listed,
    mapping,
    name,
    number,
    one_of,
    require,
    require_fields,
    require_plain,
    text,
)

SCHEMA = 1
LARGEST_SIDE = 1 << 13  # pixels of the network's input
MOST_CHANNELS = 1 << 10
READING = ("label_column", "label_pattern", "format", "ignore", "class_names", "task")  # fields of `ReadOptions`
FITS, FILTERS = ("crop", "squash", "pad"), ("bilinear", "bicubic")


@dataclasses.dataclass(frozen=True)
class Card:
    """What card.json holds. Everything is a plain value.

    network: `models.build`'s arguments; classes: names in output order; preprocessing: `Preprocessing`'s fields;
    metrics: split -> name -> value; data: name, fingerprint, counts, and (image, reason) of what was left out; recipe:
    every field as trained; calibration: temperature or threshold, its split, and n, the images there, or None; head:
    the network's head; summaries: split -> the main figure as text; kept: the epoch whose weights these are, the best
    on val by the figure and value given, of so many epochs, {} for those after the last step; teacher: run, network,
    checksum and parameters of the network that this one learned from, {} without.
    """

    task: str
    network: dict[str, Any]
    classes: list[str]
    preprocessing: dict[str, Any]
    recipe: dict[str, Any]
    data: dict[str, Any]
    hardware: dict[str, str]
    versions: dict[str, str]
    commit: str
    created: str
    parameters: int
    seconds: float
    metrics: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    weights_sha256: str = ""
    schema: int = SCHEMA
    head: dict[str, Any] = dataclasses.field(default_factory=dict)
    summaries: dict[str, str] = dataclasses.field(default_factory=dict)
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)
    teacher: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def temperature(self) -> float:
        """Scores are divided by it before they become probabilities; 1 where none was fitted."""
        return float((self.calibration or {}).get("temperature", 1.0))


def decode(values: Any) -> Card:
    """The card from its JSON value. Raises ValueError naming the first field that is missing, unknown or invalid."""
    require(isinstance(values, dict), "the whole", "an object", values)
    require_plain(values)
    known = {field.name: field for field in dataclasses.fields(Card)}
    require_fields(values, "", [key for key, field in known.items() if without_default(field)], known)
    for key, value in values.items():
        CHECKS[key](value, key)
    card = Card(**values)
    require_agreement(card)
    return card


def without_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def classes(value: Any, field: str) -> None:
    listed(name)(value, field)
    counted = {one: i for i, one in enumerate(value)}
    twice = [one for i, one in enumerate(value) if counted[one] != i]
    require(not twice, field, "names that differ", twice[0] if twice else None)


def network(value: Any, field: str) -> None:
    checks: dict[str, Check] = {"name": name, "classes": count, "channels": integer(1, MOST_CHANNELS)}
    fields(checks, ("name", "classes", "channels"), others=True)(value, field)
    for key, one in value.items():  # which of the others there are is known to the task
        require(isinstance(one, str | int | float | None), f"{field}.{key}", "text or a number", one)


def calibration(value: Any, field: str) -> None:
    if value is None:
        return
    checks = {"temperature": number(1e-3, 1e3), "threshold": number(0, 1), "split": text, "n": count}
    fields(checks, ("split", "n"))(value, field)
    require(len(value) == 3, field, "null, or one of temperature and threshold with split and n", value)


def checksum(value: Any, field: str) -> None:
    require(isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value), field, "a SHA-256 checksum", value)


def pair(value: Any, field: str) -> None:
    listed(text)(value, field)
    require(len(value) == 2, field, "an image and a reason", value)


PREPROCESSING: dict[str, Check] = {  # the fields of `data.preprocess.Preprocessing`
    "channels": integer(1, MOST_CHANNELS),
    "size": integer(1, LARGEST_SIDE),
    "resize": integer(1, 2 * LARGEST_SIDE),
    "mean": listed(number(-1e3, 1e3)),
    "std": listed(number(1e-6, 1e6)),
    "fit": one_of(*FITS),
    "filter": one_of(*FILTERS),
    "antialias": one_of(True, False),
    "orientation": one_of("exif"),
    "background": listed(integer(0, 255)),
    "height": integer(0, LARGEST_SIDE),
    "jpeg_oversampling": number(0, 64),
}
recipe = fields(
    {
        "name": name,
        "val": number(0, 1),
        "seed": count,
        "epochs": count,
        "iterations": count,
        "batch": count,
        "average": number(0, 1),
        "label_smoothing": number(0, 1),
        "pretrained": text,
        "members": listed(text),
    },
    ("name",),
    others=True,
)
data = fields(
    {
        "name": text,
        "fingerprint": text,
        "counts": mapping(count),
        "reading": fields(dict.fromkeys(READING, text)),
        "left_out": listed(pair),
    },
    ("name", "fingerprint"),
    others=True,
)
FIGURE = number(-LARGEST_INTEGER, LARGEST_INTEGER)
CHECKS: dict[str, Check] = {
    "task": name,
    "network": network,
    "classes": classes,
    "preprocessing": fields(PREPROCESSING, ("channels", "size", "resize", "mean", "std")),
    "recipe": recipe,
    "data": data,
    "hardware": mapping(text),
    "versions": mapping(text),
    "commit": text,
    "created": text,
    "parameters": count,
    "seconds": number(0, LARGEST_INTEGER),
    "metrics": mapping(fields({"n": count}, ("n",), others=True)),
    "calibration": calibration,
    "weights_sha256": checksum,
    "schema": one_of(SCHEMA),
    "head": fields({"name": name, "outputs": count}),
    "summaries": mapping(text),
    "kept": fields({"epoch": count, "epochs": count, "early": one_of(True, False), "figure": name, "value": FIGURE}),
    "teacher": fields({"run": text, "network": name, "weights_sha256": checksum, "parameters": count}),
}


def require_agreement(card: Card) -> None:
    """Raises ValueError where fields that are each valid contradict one another."""
    shape, record = card.network, card.preprocessing
    channels = shape["channels"]
    require(record["channels"] == channels, "preprocessing.channels", f"{channels}, as in network", record["channels"])
    for field, many in (("mean", channels), ("std", channels), ("background", 3)):
        found = record.get(field, [0] * many)
        require(len(found) == many, f"preprocessing.{field}", f"{many} numbers", found)
    if card.data["fingerprint"]:  # val is cut again from the data that the network was trained on
        require_fields(card.recipe, "recipe", ("val", "seed"))
    require_fields(card.summaries, "summaries", (), card.metrics)
