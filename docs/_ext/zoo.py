"""The model zoo from the registries: tables of networks and weights, and the gallery, as Markdown."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from docs._ext.markdown import table
from skipway import models
from skipway.commands.summary import network_rows
from skipway.hardware import ShapesOnly
from skipway.models.analysis.paper_results import PUBLISHED
from skipway.models.pretrained.registry import WEIGHTS, Weights
from skipway.reporting import architecture
from skipway.reporting.numbers import MISSING, format_count


def number(value: float | None, digits: int = 2) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


@cache
def rows() -> tuple[dict[str, Any], ...]:
    return tuple(network_rows("*"))


def drawn(name: str) -> str:
    """A link to the page that `skipway show NAME --html` makes; in HTML, since it is no page of Sphinx."""
    return f'<a href="architecture/{name}.html"><code>{name}</code></a>'


def paper(row: dict[str, Any]) -> str:
    return f"[{row['paper']}](https://arxiv.org/abs/{row['arxiv']})"


def network_table(size: str) -> str:
    """The classification networks for images of `size` pixels."""
    columns = ("network", "paper", "layers", "parameters", "multiply-adds", "published error, %", "on", "weights")
    return table(
        columns,
        (
            (
                drawn(row["name"]),
                paper(row),
                row["depth"],
                format_count(row["parameters"]),
                format_count(row["multiply_adds"]),
                errors(row),
                row["test"] or MISSING,
                len(row["weights"]) or MISSING,
            )
            for row in rows()
            if row["size"] == int(size)
        ),
    )


def errors(row: dict[str, Any]) -> str:
    """Top-1 and, where it is published, top-5."""
    found = [row["top1_error"], row["top5_error"]]
    return " / ".join(number(error) for error in found if error is not None) or MISSING


def frontier() -> str:
    """ImageNet networks of which no other has a lower published error of one crop at fewer multiply-adds."""
    known = [row for row in rows() if row["test"] == "ImageNet, 1 crop" and row["top1_error"] is not None]
    known.sort(key=lambda row: (row["multiply_adds"], row["top1_error"]))
    best, chosen = float("inf"), []
    for row in known:
        if row["top1_error"] < best:
            best = row["top1_error"]
            chosen.append(row)
    columns = ("network", "multiply-adds", "parameters", "published top-1 error, %", "source")
    shown = ("multiply_adds", "parameters")
    return table(
        columns,
        (
            (drawn(r["name"]), *(format_count(r[key]) for key in shown), number(r["top1_error"]), r["source"])
            for r in chosen
        ),
    )


def dense_table(kind: str) -> str:
    """The detectors, segmenters or generators with their parameters and named weights."""
    create: Callable[..., Any]
    names, create = {
        "detectors": (models.list_detectors(), models.create_detector),
        "segmenters": (models.list_segmenters(), models.create_segmenter),
        "generators": (models.list_generators(), models.create_generator),
    }[kind]
    classes = 10 if kind == "generators" else 21
    made = []
    for name in names:
        with ShapesOnly():
            net = create(name, classes)
        weights = ", ".join(f"`{w.name}`" for w in WEIGHTS.values() if w.net == name) or MISSING
        body = models.BODY_OF.get(name)
        cells = [drawn(body) if body else MISSING] if kind != "generators" else []
        made.append((f"`{name}`", *cells, format_count(sum(p.numel() for p in net.parameters())), weights))
    body_column = ["body"] if kind != "generators" else []
    return table(("network", *body_column, f"parameters, {classes} classes", "weights by name"), made)


def weight_tables() -> str:
    """Named pretrained weights, a table for each source."""
    parts = []
    for source in dict.fromkeys(w.source for w in WEIGHTS.values()):
        members = [w for w in WEIGHTS.values() if w.source == source]
        columns = ("name", "pixels", "figure, %", "measured on", "licence and data", "MB")
        lines = ((f"`{w.name}`", w.size, figure(w), w.measured, w.terms(), number(w.megabytes, 0)) for w in members)
        parts.append(f"## {source}\n\n{table(columns, lines)}")
    return "\n\n".join(parts)


def figure(weights: Weights) -> str:
    """The published figure of a set of weights."""
    named = (
        ("top-1", weights.top1),
        ("top-5", weights.top5),
        ("box AP", weights.box_ap),
        ("mask AP", weights.mask_ap),
        ("mean IoU", weights.miou),
        ("pixel accuracy", weights.pixel_accuracy),
    )
    return ", ".join(f"{name} {value:g}" for name, value in named if value is not None) or MISSING


def gallery() -> str:
    """A card for each paper with the unit of its first network, as `skipway show --html` draws it, and its members."""
    parts = []
    papers = dict.fromkeys(PUBLISHED[name].paper for name in models.list_models())
    for one in sorted(papers, key=lambda found: (found.year, found.short)):
        names = [name for name in models.list_models() if PUBLISHED[name].paper == one]
        links = " ".join(drawn(name) for name in names)
        caption = f"A unit of <code>{names[0]}</code>."
        picture = f'<div class="hue unit-picture" style="--hue: 250">{unit_of(names[0])}</div><p>{caption}</p>'
        link = f"[arXiv:{one.arxiv}](https://arxiv.org/abs/{one.arxiv})"
        parts.append(f"## {one.short}\n\n{link}\n\n{picture}\n\n{links}")
    return "\n\n".join(parts)


def unit_of(name: str) -> str:
    """The drawing of the unit that `name` repeats most, without what its page does on a pointer."""
    sections = architecture.network(name, "", None, stacked=False)["sections"].values()
    runs = [run for found in sections for run in found["runs"]]
    repeated = max(runs, key=lambda run: (run["count"], run["svg"].count("<rect")))
    svg = re.sub(r' (tabindex|data-[\w-]+|role|aria-label)="[^"]*"', "", str(repeated["svg"]))
    return svg.replace('<svg class="unit"', f'<svg class="unit" role="img" aria-label="A unit of {name}"', 1)
