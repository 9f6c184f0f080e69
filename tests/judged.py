"""Evaluations without a network, and pages in a browser, as the tests of evaluation/ use them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skipway.bundle import Card
from skipway.data.dataset import Split
from skipway.data.preprocess import Preprocessing
from skipway.evaluation.report import Report
from skipway.tasks.base import ReportContext, SplitOutputs
from skipway.tasks.classify.evaluation import ClassEvaluation, measure
from skipway.trained import task_of

SIDE = 8  # pixels of the images
BUGS = ("ant", "bee", "cat")


def card(classes: tuple[str, ...] = BUGS, **changes: Any) -> Card:
    plain = Card(
        task="classify",
        network={"name": "resnet20", "classes": len(classes), "channels": 3, "stem": "small"},
        classes=list(classes),
        preprocessing={"channels": 3, "size": SIDE, "resize": SIDE, "mean": [0.5] * 3, "std": [0.25] * 3},
        recipe={"name": "quick", "pretrained": "", "label_smoothing": 0.1, "milestones": [0.5, 0.75], "flip": False},
        data={"name": "bugs", "fingerprint": "f1" * 32, "counts": {"train": 90, "val": 10, "test": 40}},
        hardware={"device": "a processor", "precision": "float32"},
        versions={"python": "3.11.7", "torch": "2.11.0"},
        commit="abc1234",
        created="2026-07-30T12:00:00+00:00",
        parameters=272_474,
        seconds=12.5,
    )
    return replace(plain, **changes)


def tagging(classes: tuple[str, ...] = BUGS, **changes: Any) -> Card:
    return card(classes, task="tag", **changes)


def images(labels: np.ndarray, names: tuple[str, ...]) -> Split:
    pixels = np.random.default_rng(5).integers(0, 255, (len(labels), SIDE, SIDE, 3), dtype=np.uint8)
    return Split(pixels, labels, names)


def scored(
    classes: tuple[str, ...] = BUGS, n: int = 40, split: str = "test", empty: int | None = None, several: bool = False
) -> SplitOutputs:
    """Some 70 % right, at random but repeatable; the class numbered `empty` has no image."""
    count, rng = len(classes), np.random.default_rng(3)
    if several:
        labels = (rng.random((n, count)) < 0.4).astype(np.uint8)
        if empty is not None:
            labels[:, empty] = 0
        scores = rng.normal(size=(n, count)) + 2.5 * (labels - 0.5)
        names = tuple(f"{i:04d}.jpg" for i in range(n))
    else:
        labels = rng.choice([k for k in range(count) if k != empty], n)
        scores = rng.normal(size=(n, count)) + 2.2 * np.eye(count)[labels]
        names = tuple(f"{classes[label]}/{i:04d}.jpg" for i, label in enumerate(labels))
    found = torch.from_numpy(scores.astype(np.float32))
    return SplitOutputs("bugs", split, classes, images(labels, names), "f1" * 32, True, (), (found,), 1.5)


def report(of: Card, evaluation: ClassEvaluation, records: Any = (), **changes: Any) -> Report:
    """The report of `evaluation`, with a gallery without heat."""
    context = ReportContext(of, Preprocessing(**of.preprocessing), None, records, "center")
    of_context = {key: changes.pop(key) for key in list(changes) if hasattr(context, key)}
    context = replace(context, **of_context)
    found = Report(task_of(of), evaluation, context, "skipway eval run bugs", "skipway train bugs")
    return replace(found, **changes)


def measured(of: Card, found: SplitOutputs) -> ClassEvaluation:
    """What the card's task measures."""
    return measure(task_of(of), found, of.calibration)


def judged(of: Card | None = None, **how: Any) -> ClassEvaluation:
    """`scored`, measured."""
    found = scored(**how)
    return measured(of or (tagging if how.get("several") else card)(found.classes), found)


def look(browser: Any, file: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
    """The page of `file` in a window `width` wide, and what went wrong or was asked for outside of it."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def asked(request: Any) -> None:
        if request.url != file.as_uri() and not request.url.startswith("data:image/webp;base64,"):
            wrong.append(request.url)

    page.on("request", asked)
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    return page, wrong
