"""An evaluation for people, in report.html, which needs nothing beside it, and for programs, in report.json."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skipway.bundle import Card, write_atomically
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.plots import DRAWN, confusion_map, curve, legible, measured

SCHEMA = 1
MISSING = "–"
CONFUSIONS, MISTAKES, ROWS = 10, 12, 25  # lines of the tables; further classes are folded away


def write_report(
    folder: Path, evaluation: Evaluation, card: Card, records: Sequence[dict[str, Any]], command: str
) -> Path:
    """report.json and report.html in `folder`, which exists; returns the page's path.

    records: metrics.jsonl's lines, none for no curves; command: what a shell runs to judge again.
    """
    # ASCII, unlike the card: the escape of a file name that is not UTF-8 reads back as that very name.
    lines = (f"{json.dumps(key)}: {json.dumps(part)}" for key, part in report_json(evaluation, card).items())
    write_atomically(folder / "report.json", ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    page = folder / "report.html"
    write_atomically(page, render(evaluation, card, records, command).encode())
    return page


def report_json(evaluation: Evaluation, card: Card) -> dict[str, Any]:
    """Everything measured, as plain values.

    confusion: rows the truth; seconds: of the evaluation; data: what was judged, and name and fingerprint of what the
    network was trained on; network, recipe, versions, hardware and commit: the card's, of training; predictions: one an
    image in the split's order, with the most likely class and its probability as computed, not rounded.
    """
    return {
        "schema": SCHEMA,
        "split": evaluation.split,
        "n": len(evaluation.labels),
        "metrics": plain(evaluation.metrics),
        "per_class": [plain(row) for row in evaluation.per_class],
        "confusion": {"classes": list(evaluation.classes), "matrix": evaluation.confusion.tolist()},
        "seconds": evaluation.seconds,
        "data": {
            "name": evaluation.data,
            "trained_on": card.data["name"],
            "fingerprint": card.data["fingerprint"],
        },
        "network": card.network,
        "recipe": card.recipe["name"],
        "parameters": card.parameters,
        "versions": card.versions,
        "hardware": card.hardware,
        "commit": card.commit,
        "predictions": predictions(evaluation),
    }


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """`values` as they are after a round trip through JSON: an interval is a list."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def predictions(evaluation: Evaluation) -> list[dict[str, Any]]:
    """For each image in order: name, label and predicted as class names, and the predicted class's probability."""
    classes, said = evaluation.classes, evaluation.probabilities.argmax(1).tolist()
    return [
        {"name": name, "label": classes[true], "predicted": classes[guess], "probability": probability}
        for name, true, guess, probability in zip(
            evaluation.names, evaluation.labels.tolist(), said, evaluation.probabilities.max(1).tolist(), strict=True
        )
    ]


def render(evaluation: Evaluation, card: Card, records: Sequence[dict[str, Any]], command: str) -> str:
    """The page as HTML. The same arguments give the same bytes."""
    page = Environment(
        loader=PackageLoader("skipway.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"percent": percent, "interval": interval, "legible": legible, "value": value}
    return page.get_template("report.html").render(
        evaluation=evaluation,
        card=card,
        command=command,
        chance=math.log(len(card.classes)),
        commonest=float(np.bincount(evaluation.labels).max() / len(evaluation.labels)),
        about_split=about_split(evaluation, card),
        curves=figures(records),
        mixed=not measured(records, "train_top1"),
        watched=bool(measured(records, "val_loss")),
        confusion=optional(confusion_map(evaluation.confusion, evaluation.classes)),
        drawn=DRAWN,
        confusions=confusions(evaluation)[:CONFUSIONS],
        per_class=worst_first(evaluation.per_class),
        rows=ROWS,
        mistakes=mistakes(evaluation)[:MISTAKES],
    )


def optional(figure: str | None) -> Markup | None:
    """A figure as markup: the only text on the page that is not escaped, since `plots` made it."""
    return None if figure is None else Markup(figure)


def figures(records: Sequence[dict[str, Any]]) -> list[tuple[str, Markup]]:
    """(caption, figure) for each curve that the records have."""
    drawn = (("Loss, in nats", curve(records, "loss")), ("Top-1 accuracy", curve(records, "top1")))
    return [(caption, Markup(figure)) for caption, figure in drawn if figure is not None]


def about_split(evaluation: Evaluation, card: Card) -> str:
    """Which images were judged, and what they and the other splits were to the training: what the figure is worth."""
    n, watched = f"{len(evaluation.labels):,} images", card.data.get("counts", {}).get("val")
    if not evaluation.trained_on:
        return (
            f"Judged on the {n} of {legible(evaluation.data)}, {evaluation.split}. The network was trained on "
            f"{legible(card.data['name'])}; whether the two share images was not checked."
        )
    val = "No val was set aside to watch the run; the weights are those after the last step."
    if watched:
        val = (
            f"Val, {watched:,} images kept out of training, watched the run and chose nothing: the weights are those "
            "after the last step."
        )
    if evaluation.split == "test":
        return f"Judged on test, {n} that training never saw. {val}"
    if evaluation.split == "val":
        return (
            f"Judged on val, not on test: {n} kept out of training. They watched the run and chose nothing: the "
            "weights are those after the last step. If settings were picked by looking at val, the figure flatters. "
            "Test was not used."
        )
    return (
        f"Judged on train: {n} that the network learned from. The figure says how well they were learned, and nothing "
        f"about new images. {val} Test was not used."
    )


def worst_first(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`class_table`'s rows by recall from the lowest; classes without an image come last."""
    return sorted(rows, key=lambda row: (row["recall"] is None, row["recall"] or 0.0))


def confusions(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Each pair that was confused: true, predicted, count, share of the true class; the most frequent first."""
    wrong = evaluation.confusion - np.diag(np.diag(evaluation.confusion))
    pairs = sorted(np.argwhere(wrong).tolist(), key=lambda pair: -wrong[pair[0], pair[1]])
    return [
        {
            "true": evaluation.classes[true],
            "predicted": evaluation.classes[said],
            "count": int(wrong[true, said]),
            "share": wrong[true, said] / evaluation.confusion[true].sum(),
        }
        for true, said in pairs
    ]


def mistakes(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The wrong predictions, the most confident first."""
    wrong = [row for row in predictions(evaluation) if row["label"] != row["predicted"]]
    return sorted(wrong, key=lambda row: -row["probability"])


def percent(share: float | None) -> str:
    """A share of 1 in per cent with two decimals; a dash for None. Only 1 itself reads 100."""
    if share is None:
        return MISSING
    text = f"{100 * share:.2f}"
    return f"{'> 99.99' if share < 1 and text == '100.00' else text}\u00a0%"


def interval(ends: Sequence[float] | None) -> str:
    """Two shares of 1 in per cent; a dash for None."""
    return MISSING if ends is None else f"{percent(ends[0])[:-2]} to {percent(ends[1])[:-2]}"


def value(setting: Any) -> str:
    """A field of a recipe in words; a dash where it is empty."""
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, list | tuple):
        return ", ".join(map(value, setting)) or MISSING
    if isinstance(setting, int):
        return f"{setting:,}"
    return legible(str(setting)) or MISSING
