"""An evaluation for people, in report.html, which needs nothing beside it, and for programs, in report.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from skipway.bundle import Card, write_atomically
from skipway.evaluation import pages
from skipway.evaluation.calibration import Reliability
from skipway.evaluation.diagnosis import Finding, diagnose
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.gallery import Gallery
from skipway.evaluation.pages import percent, plain
from skipway.evaluation.plots import (
    DRAWN,
    NAMED,
    QUANTITIES,
    confusion_map,
    curve,
    measured,
    reliability_diagram,
)
from skipway.evaluation.wording import about_calibration, about_chance, about_origin, about_split, headlines

SCHEMA = 2
CONFUSIONS, ROWS, LISTED = 10, 25, 200  # lines of tables: of pairs, of classes before the rest is folded, of files


@dataclass(frozen=True)
class Report:
    """What a report is made of.

    records: metrics.jsonl's lines, none for no curves; protocol: how the network looked at the images, by its name;
    command, training: what a shell runs to judge again and to train again, the second "" where nobody knows.
    """

    evaluation: Evaluation
    card: Card
    gallery: Gallery
    records: Sequence[dict[str, Any]]
    protocol: str
    command: str
    training: str

    @cached_property
    def findings(self) -> list[Finding]:
        """What speaks against the network; empty for one that learnt."""
        return diagnose(self.card, self.records, self.evaluation)


def write_report(folder: Path, report: Report) -> Path:
    """report.json and report.html in `folder`, which exists; returns the page's path."""
    # ASCII, unlike the card: the escape of a file name that is not UTF-8 reads back as that very name.
    lines = (f"{json.dumps(key)}: {json.dumps(part)}" for key, part in report_json(report).items())
    write_atomically(folder / "report.json", ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    page = folder / "report.html"
    write_atomically(page, render(report).encode())
    return page


def report_json(report: Report) -> dict[str, Any]:
    """Everything measured, as plain values.

    warnings: what speaks against the network, errors first (see `diagnosis`); confusion: rows the truth, null where
    images have several labels; calibration: the card's, with the bins before and after it; seconds: of the scoring;
    data: what was judged, and name and fingerprint of what was trained on; left_out: [image, why]; network, recipe,
    versions, hardware and commit: the card's, of training; predictions: one an image in the split's order.
    """
    evaluation, card, scored = report.evaluation, report.card, report.evaluation.scored
    matrix = evaluation.confusion
    after = evaluation.calibrated
    return {
        "schema": SCHEMA,
        "task": card.task,
        "split": scored.split,
        "n": len(evaluation.labels),
        "warnings": [asdict(finding) for finding in report.findings],
        "metrics": plain(evaluation.metrics),
        "per_class": [plain(row) for row in evaluation.per_class],
        "confusion": None if matrix is None else {"classes": list(evaluation.classes), "matrix": matrix.tolist()},
        "calibration": {
            "fitted": card.calibration,
            "cross_fitted": evaluation.cross_fitted,
            "bins_uncalibrated": bins(evaluation.uncalibrated),
            "bins": None if after is None else bins(after),
        },
        "seconds": scored.seconds,
        "protocol": report.protocol,
        "command": report.command,
        "training": report.training,
        "data": {
            "name": scored.data,
            "judged_fingerprint": scored.fingerprint,
            "trained_on": card.data["name"],
            "fingerprint": card.data["fingerprint"],
        },
        "left_out": [list(pair) for pair in scored.left_out],
        "network": card.network,
        "recipe": card.recipe["name"],
        "parameters": card.parameters,
        "versions": card.versions,
        "hardware": card.hardware,
        "commit": card.commit,
        "predictions": predictions(evaluation),
    }


def bins(found: Reliability) -> dict[str, list[float]]:
    return {"count": found.count.tolist(), "confidence": found.confidence.tolist(), "right": found.right.tolist()}


def predictions(evaluation: Evaluation) -> list[dict[str, Any]]:
    """For each image in order: name, label and predicted as class names, and the predicted class's probability; with
    several labels, lists of names and every class's probability. Probabilities are as computed, not rounded."""
    classes, said, probabilities = evaluation.classes, evaluation.said, evaluation.probabilities
    if evaluation.several:
        names = [[[classes[i] for i in np.flatnonzero(row)] for row in rows] for rows in (evaluation.labels, said)]
        values: Sequence[Any] = probabilities.tolist()
    else:
        names = [[classes[i] for i in column.tolist()] for column in (evaluation.labels, said)]
        values = probabilities[np.arange(len(said)), said].tolist()
    rows = zip(evaluation.names, *names, values, strict=True)
    key = "probabilities" if evaluation.several else "probability"
    return [{"name": name, "label": true, "predicted": guess, key: shown} for name, true, guess, shown in rows]


def render(report: Report) -> str:
    """The page as HTML. The same report gives the same bytes."""
    evaluation, card = report.evaluation, report.card
    rows = numbered(evaluation) if len(card.classes) > NAMED else evaluation.per_class
    return pages.render(
        "report.html",
        evaluation=evaluation,
        card=card,
        gallery=report.gallery,
        protocol=report.protocol,
        command=report.command,
        training=report.training,
        findings=report.findings,
        headlines=headlines(evaluation),
        about_origin=about_origin(card),
        about_split=about_split(evaluation, card),
        chance=about_chance(evaluation),
        about_calibration=about_calibration(evaluation, card, report.protocol),
        diagrams=diagrams(evaluation),
        curves=curves(report.records),
        mixed=not measured(report.records, "train_top1") and not evaluation.several,
        watched=bool(measured(report.records, "val_loss")),
        confusion=pages.optional(
            None if evaluation.confusion is None else confusion_map(evaluation.confusion, evaluation.classes)
        ),
        drawn=DRAWN,
        named=NAMED,
        confusions=[] if evaluation.confusion is None else confusions(evaluation)[:CONFUSIONS],
        per_class=worst_first(rows, "ap" if evaluation.several else "recall"),
        rows=ROWS,
        wrong=int((~evaluation.right).sum()),
        listed=LISTED,
    )


def curves(records: Sequence[dict[str, Any]]) -> list[tuple[str, Markup]]:
    """(caption, figure) for each curve that the records have."""
    drawn = ((f"{what}, in {unit}", curve(records, key)) for key, (what, unit, _) in QUANTITIES.items())
    return [(caption, Markup(figure)) for caption, figure in drawn if figure is not None]


def diagrams(evaluation: Evaluation) -> list[tuple[str, Markup]]:
    """(caption, figure): reliability as the network's scores are, and with temperature where there is one."""
    several, after = evaluation.several, evaluation.calibrated
    found = [("Without temperature", "uncalibrated", evaluation.uncalibrated)]
    found += [("With temperature", "calibrated", after)] if after is not None else []
    return [
        (f"{caption}: calibration error {percent(part.ece)}", Markup(reliability_diagram(part, key, several)))
        for caption, key, part in found
    ]


def numbered(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The rows of the classes with their numbers before the names, which a matrix without names on it needs."""
    return [{**row, "class": f"{i} {row['class']}"} for i, row in enumerate(evaluation.per_class)]


def worst_first(rows: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """`rows` by a figure from the lowest; classes without an image come last."""
    return sorted(rows, key=lambda row: (row[key] is None, row[key] or 0.0))


def confusions(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Each pair that was confused: true, predicted, count, share of the true class; the most frequent first."""
    assert evaluation.confusion is not None
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
