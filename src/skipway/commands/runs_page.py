"""Runs as a table for people: on a terminal, in a notebook, and as a page that sorts itself in the browser."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from skipway.commands.run_rows import FINISHED, UNFINISHED, RunRow
from skipway.reporting import html
from skipway.reporting.numbers import MISSING, format_bytes, format_count, percent
from skipway.training.time_estimate import duration

WIDE = 130  # columns of a terminal on which every column is shown
SHOWN = 200  # runs that a notebook shows


class RunList(Protocol):
    """What is shown of `commands.runs.Runs`."""

    @property
    def title(self) -> str: ...
    @property
    def rows(self) -> tuple[RunRow, ...]: ...
    def __iter__(self) -> Iterator[RunRow]: ...
    def __len__(self) -> int: ...
    def readable(self) -> "RunList": ...
    def differences(self) -> dict[str, list[Any]]: ...


@dataclass(frozen=True)
class Column:
    """A column of the table. values: (text, what it is sorted by, "" where there is nothing) of a run; narrow: whether
    it is shown on narrow terminals too; numeric: aligned right, and sorted from the largest."""

    heading: str
    text: Any
    key: Any
    narrow: bool = True
    numeric: bool = True


def figure(row: RunRow, value: float | None) -> str:
    """A run's metric as text."""
    return MISSING if value is None else percent(value) if row.shares else f"{value:.4f}"


def state(row: RunRow) -> str:
    """finished, at step 120, or what is wrong."""
    return row.note if row.note and row.state in (FINISHED, UNFINISHED) else row.state


def best_first(row: RunRow, value: float | None) -> float | str:
    return "" if value is None else value if row.higher_is_better else -value


def known(value: Any) -> Any:
    return "" if value is None else value


COLUMNS = (
    Column("run", lambda r: r.name, lambda r: r.name, numeric=False),
    Column("task", lambda r: r.task or MISSING, lambda r: r.task, narrow=False, numeric=False),
    Column("network", lambda r: r.network or MISSING, lambda r: r.network, numeric=False),
    Column("data", lambda r: r.data or MISSING, lambda r: r.data, narrow=False, numeric=False),
    Column("metric", lambda r: r.metric or MISSING, lambda r: r.metric, numeric=False),
    Column("val", lambda r: figure(r, r.val), lambda r: best_first(r, r.val)),
    Column("test", lambda r: figure(r, r.test), lambda r: best_first(r, r.test)),
    Column(
        "images/s",
        lambda r: MISSING if r.images_per_second is None else f"{r.images_per_second:,.0f}",
        lambda r: known(r.images_per_second),
        narrow=False,
    ),
    Column("time", lambda r: MISSING if r.seconds is None else duration(r.seconds), lambda r: known(r.seconds)),
    Column("epochs", lambda r: MISSING if r.epochs is None else str(r.epochs), lambda r: known(r.epochs), narrow=False),
    Column(
        "parameters",
        lambda r: MISSING if r.parameters is None else format_count(r.parameters),
        lambda r: known(r.parameters),
        narrow=False,
    ),
    Column("size", lambda r: format_bytes(r.bytes) if r.bytes else MISSING, lambda r: r.bytes or "", narrow=False),
    Column("date", lambda r: r.created[:10] or MISSING, lambda r: r.created),
    Column("state", state, state, numeric=False),
)


def print_runs(found: RunList, console: Console) -> None:
    """The runs that can be read as a table, and a line for each of the others."""
    rows = found.readable()
    columns = [column for column in COLUMNS if column.narrow or console.width >= WIDE]
    table = Table(box=None, pad_edge=False)
    for column in columns:
        fixed = column.numeric or column.heading in ("metric", "state")
        table.add_column(column.heading, justify="right" if column.numeric else "left", no_wrap=fixed, overflow="fold")
    for row in rows:
        table.add_row(*(column.text(row) for column in columns))
    if len(rows):
        console.print(table)
    for row in found:
        if row.state not in (FINISHED, UNFINISHED):
            console.print(f"{row.name}: {row.state}, {row.note}", soft_wrap=True)
    if not len(found):
        console.print(f"no runs in {found.title}")


def print_differences(found: RunList, console: Console) -> None:
    """A row for each setting in which the runs differ, a column for each run."""
    different = found.differences()
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    for row in found.readable():
        table.add_column(row.name, overflow="fold")
    for name, values in [*figures(found), *different.items()]:
        table.add_row(name, *map(setting, values))
    console.print(table)


def figures(found: RunList) -> list[tuple[str, list[str]]]:
    """The metrics of the runs, above the settings in which they differ."""
    rows = found.readable()
    return [(name, [f"{figure(r, getattr(r, name))} {r.metric}".strip() for r in rows]) for name in ("val", "test")]


def setting(value: Any) -> str:
    return MISSING if value is None else html.value(value)


# ---------------------------------------------------------------------------------------------------------------------
# Pages


def cells(row: RunRow, columns: Sequence[Column]) -> list[tuple[str, str, bool]]:
    """(text, what it is sorted by, whether it is a number) of each column."""
    return [(column.text(row), str(column.key(row)), column.numeric) for column in columns]


def page(found: RunList, file: Path, compared: bool = False) -> str:
    """The page for `file`, from whose folder the reports are linked; compared: with the settings in which the runs
    differ. Raises SkipwayError as `Runs.differences`."""
    rows = found.readable()
    return html.render(
        "runs.html",
        "skipway.commands",
        title=found.title,
        columns=COLUMNS,
        rows=[(link(row, file), cells(row, COLUMNS)) for row in rows],
        others=[row for row in found if row.state not in (FINISHED, UNFINISHED)],
        names=[row.name for row in rows],
        figures=figures(found),
        different={name: list(map(setting, values)) for name, values in found.differences().items()}
        if compared
        else None,
    )


def link(row: RunRow, file: Path) -> str:
    """The address of a run's report from `file`; "" where it has none."""
    report = row.path / "report.html"
    return quote(os.path.relpath(report, file.parent)) if report.is_file() else ""


def notebook_table(found: RunList) -> str:
    """A table for notebooks, in their own colours, of the first SHOWN runs."""
    columns = [column for column in COLUMNS if column.narrow]
    rows = found.readable()
    return html.render(
        "runs_table.html",
        "skipway.commands",
        title=found.title,
        columns=columns,
        rows=[cells(row, columns) for row in rows.rows[:SHOWN]],
        hidden=max(0, len(rows) - SHOWN),
        others=len(found) - len(rows),
    )
