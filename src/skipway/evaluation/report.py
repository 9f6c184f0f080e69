"""Evaluation reports: report.html, one self-contained page, and report.json."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from skipway.bundle import write_atomically
from skipway.evaluation.far import FarResult
from skipway.evaluation.report_text import about_origin, about_split
from skipway.reporting import html
from skipway.reporting.html import plain
from skipway.reporting.svg import curve, measured
from skipway.tasks import Task
from skipway.tasks.base import Evaluation, Finding, ReportContext

SCHEMA = 2
LISTED = 200  # files left out that the page lists


@dataclass(frozen=True)
class Report:
    """The contents of a report.

    command, training: the shell commands that repeat the evaluation and the training; the second "" where unknown.
    far: sets of images of other kinds that the network's scores were to tell apart.
    """

    task: Task
    evaluation: Evaluation
    context: ReportContext
    command: str
    training: str
    far: tuple[FarResult, ...] = ()

    @cached_property
    def findings(self) -> list[Finding]:
        """Problems found with the network, errors first; empty where there are none."""
        return self.task.reporter.findings(self.evaluation, self.context)


def write_report(folder: Path, report: Report) -> Path:
    """report.json and report.html in `folder`, which exists; returns the page's path."""
    # ASCII, unlike the card: the escape of a file name that is not UTF-8 is read back as the same name.
    lines = (f"{json.dumps(key)}: {json.dumps(part)}" for key, part in report_json(report).items())
    write_atomically(folder / "report.json", ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    page = folder / "report.html"
    write_atomically(page, render(report).encode())
    return page


def report_json(report: Report) -> dict[str, Any]:
    """Everything measured, as plain values.

    warnings: problems found with the network, errors first; the keys after metrics are the task's, see its reporter's
    `details`; seconds: of the network; data: what was evaluated, and name and fingerprint of the training data;
    far: of each set of far images, AUROC and share kept by each score; left_out: [image, reason]; network, recipe,
    versions, hardware and commit: the card's, of training; predictions: one per image, in the split's order.
    """
    evaluation, context, reporter = report.evaluation, report.context, report.task.reporter
    card, scored = context.card, report.evaluation.scored
    return {
        "schema": SCHEMA,
        "task": card.task,
        "split": scored.split,
        "n": len(scored.images),
        "warnings": [asdict(finding) for finding in report.findings],
        "metrics": plain(evaluation.metrics),
        **reporter.details(evaluation, context),
        **({"far": [one.to_json() for one in report.far]} if report.far else {}),
        "seconds": scored.seconds,
        "protocol": context.protocol,
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
        "predictions": reporter.predictions(evaluation),
    }


def render(report: Report) -> str:
    """The page as HTML. The same report gives the same bytes."""
    evaluation, context, reporter = report.evaluation, report.context, report.task.reporter
    return html.render(
        "report.html",
        "skipway.evaluation",
        evaluation=evaluation,
        card=context.card,
        protocol=context.protocol,
        command=report.command,
        training=report.training,
        findings=report.findings,
        headlines=reporter.figures(evaluation),
        about_origin=about_origin(context.card),
        about_split=about_split(evaluation.scored, context.card),
        chance=reporter.baseline(evaluation),
        about_training=reporter.about_training(evaluation, context.records),
        curves=curves(report),
        watched=bool(measured(context.records, "val_loss")),
        sections=Markup(reporter.sections(evaluation, context)),  # rendered by the task's own templates, which escape
        listed=LISTED,
        far=report.far,
    )


def curves(report: Report) -> list[tuple[str, Markup]]:
    """(caption, figure) for each curve in the records."""
    drawn = []
    for key, (what, unit, scale) in report.task.reporter.curves().items():
        figure = curve(report.context.records, key, what, unit, scale)
        if figure is not None:
            drawn.append((f"{what}, in {unit}" if unit else what, Markup(figure)))
    return drawn
