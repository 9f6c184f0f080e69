"""The runs of a folder with their figures: `skipway runs`.

Only small files are read: card.json, run.json and the end of metrics.jsonl. A card is compared with its checksum; the
weights are not read, which `skipway.load` does.
"""

import fnmatch
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, overload

from skipway.bundle import FILES, SUMS, Card
from skipway.bundle.card import decode
from skipway.commands.arguments import Folder
from skipway.commands.run_rows import BROKEN, FINISHED, FOREIGN, UNFINISHED, RunRow
from skipway.errors import BundleError, SkipwayError, UnknownNameError, first_line
from skipway.reporting.html import plain
from skipway.tasks import task_named
from skipway.training.checkpoint_manager import checkpoints
from skipway.training.run_manifest import has_manifest, read_manifest
from skipway.training.state_codec import NAME as MANIFEST

DEPTH = 8  # levels of folders below the one that is listed
TAIL = 1 << 16  # bytes at the end of metrics.jsonl that are read: a record has some hundreds
PLANS = ("plan/folds.json", "plan/search.json")  # of a cross-validation and a search, which have runs below them
ABOUT = ("task", "data", "fingerprint", "classes", "device", "precision", "skipway", "torch", "commit")
FILTERS = ("name", "state", "task", "network", "recipe", "data")


def by_metric(row: RunRow) -> tuple[Any, ...]:
    """The best first, of each metric; runs without a figure last."""
    figure = row.figure
    if figure is None:
        return (True, row.metric, 0.0, row.name)
    return (False, row.metric, -figure if row.higher_is_better else figure, row.name)


def by_date(row: RunRow) -> tuple[Any, ...]:
    """The newest first; those without a date last."""
    seconds = datetime.fromisoformat(row.created).timestamp() if row.created else 0.0
    return (-seconds, row.name)


SORTS: dict[str, Callable[[RunRow], tuple[Any, ...]]] = {
    "metric": by_metric,
    "date": by_date,
    "name": lambda row: (row.name,),
}


@dataclass(frozen=True, repr=False)
class Runs(Sequence[RunRow]):
    """Runs in a folder, or in several; a notebook shows them as a table. title: the folders' names."""

    title: str
    rows: tuple[RunRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> RunRow: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "RunRow | Runs":
        return Runs(self.title, self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __repr__(self) -> str:
        return f"Runs({self.title!r}, {len(self)} runs)"

    def sorted(self, by: str = "metric") -> "Runs":
        """By metric, the best first; date, the newest first; or name. Raises UnknownNameError."""
        if by not in SORTS:
            raise UnknownNameError("--sort", by, SORTS, f"one of {', '.join(SORTS)}")
        return Runs(self.title, tuple(sorted(self.rows, key=SORTS[by])))

    def filtered(self, **patterns: str) -> "Runs":
        """Those whose column matches its shell pattern, as `network="resnet*"`. Raises UnknownNameError."""
        for name in patterns:
            if name not in FILTERS:
                raise UnknownNameError("--filter", name, FILTERS, f"one of {', '.join(FILTERS)}")
        kept = (
            row
            for row in self.rows
            if all(fnmatch.fnmatchcase(getattr(row, name), pattern) for name, pattern in patterns.items())
        )
        return Runs(self.title, tuple(kept))

    def differences(self) -> dict[str, list[Any]]:
        """The settings in which the runs differ, with each run's value in order; None for one that has no such setting.
        Raises SkipwayError for fewer than two runs that can be read."""
        readable = self.readable()
        if len(readable) < 2:
            raise SkipwayError(f"{len(readable)} of these folders hold a run that can be read: give two or more")
        names = dict.fromkeys(name for row in readable for name in row.settings)
        found = {name: [row.settings.get(name) for row in readable] for name in names}
        return {name: values for name, values in found.items() if differ(name, values)}

    def readable(self) -> "Runs":
        """The finished and the unfinished ones."""
        return Runs(self.title, tuple(row for row in self.rows if row.state in (FINISHED, UNFINISHED)))

    def _repr_html_(self) -> str:
        from skipway.commands.runs_page import notebook_table

        return notebook_table(self)


def differ(name: str, values: Sequence[Any]) -> bool:
    """Whether the values of a setting differ. A field of a recipe that a run of another version does not have is off;
    what is not known yet of an unfinished run differs from nothing."""
    known = [value for value in values if value is not None] if name in ABOUT else [value or None for value in values]
    return any(value != known[0] for value in known)


def runs(folder: Folder | Iterable[Folder] = "runs", sort: str = "date") -> Runs:
    """The runs in a folder and below it, or in several: `skipway.runs("runs", sort="metric")`.

    A folder that is a run is listed alone. What is no run, or a broken one, is listed with the reason. Raises
    SkipwayError for a folder that does not exist.
    """
    folders = [folder] if isinstance(folder, str | os.PathLike) else list(folder)
    rows: list[RunRow] = []
    for one in map(Path, folders):
        if not one.is_dir():
            raise SkipwayError(f"{one} does not exist: give a folder with runs, as runs/")
        if is_run(one):
            rows.append(row_of(one, str(one) if len(folders) > 1 else one.name or str(one)))
            continue
        prefix = f"{one}/" if len(folders) > 1 else ""
        found = below(one, 1)
        rows += [row_of(path, f"{prefix}{path.relative_to(one).as_posix()}", wrong) for path, wrong in found]
    return Runs(", ".join(map(str, folders)), tuple(rows)).sorted(sort)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a part of a run or bundle."""
    return any((folder / name).is_file() for name in (SUMS, "card.json", MANIFEST))


def holds_several(folder: Path) -> bool:
    """Whether it is the folder of a cross-validation or a search, whose plan is no run."""
    return any((folder / name).is_file() for name in PLANS)


def below(folder: Path, depth: int) -> Iterator[tuple[Path, str]]:
    """(folder, "") for each run below `folder`, and (folder, what is wrong) for folders without any, as few as name
    them all. Links are not followed."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False))
    except OSError as fault:
        yield folder, f"cannot be read ({fault.strerror})"
        return
    several = holds_several(folder)
    for path in (folder / name for name in names if not (several and name == "plan")):
        if is_run(path):
            yield path, ""
        elif depth < DEPTH:
            inside = list(below(path, depth + 1))
            held = any(not wrong for _, wrong in inside)
            if held or (len(inside) == 1 and inside[0][0] == path):
                yield from inside
            elif not (several or holds_several(path)):
                yield path, "has neither card.json nor run.json"


# ---------------------------------------------------------------------------------------------------------------------
# One run


def row_of(folder: Path, name: str, wrong: str = "") -> RunRow:
    """The row of a folder, whatever is in it."""
    if wrong:
        return RunRow(folder, name, FOREIGN, wrong)
    try:
        if (folder / SUMS).is_file():
            return finished_row(folder, name)
        if has_manifest(folder):
            return unfinished_row(folder, name)
        return RunRow(folder, name, BROKEN, f"{SUMS} is missing")
    except SkipwayError as fault:
        return RunRow(folder, name, BROKEN, str(fault).removeprefix(f"{folder}/"))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        return RunRow(folder, name, BROKEN, f"cannot be read ({first_line(fault)})")


def card_of(folder: Path) -> Card:
    """The card as its checksum says. Raises BundleError."""
    content = (folder / "card.json").read_bytes()
    if f"{hashlib.sha256(content).hexdigest()}  card.json\n".encode() not in (folder / SUMS).read_bytes():
        raise BundleError(f"{folder}/card.json was changed since it was written: restore it from a copy")
    missing = next((name for name in FILES if not (folder / name).is_file()), "")
    if missing:
        raise BundleError(f"{folder}/{missing} is missing: restore it from a copy")
    try:
        return decode(json.loads(content))
    except (ValueError, RecursionError) as fault:
        raise BundleError(f"{folder}/card.json is not a card ({first_line(fault)})") from None


def finished_row(folder: Path, name: str) -> RunRow:
    """Raises SkipwayError for a bundle that is not whole."""
    card, record = card_of(folder), last_record(folder)
    task = task_named(card.task, card.classes)
    figures = {split: card.metrics.get(split, {}).get(task.metric) for split in ("val", "test")}
    return RunRow(
        path=folder,
        name=name,
        state=FINISHED,
        note="" if card.metrics else "not evaluated",
        task=card.task,
        network=card.network["name"],
        recipe=card.recipe["name"],
        data=card.data["name"],
        metric=task.metric,
        val=number(figures["val"], record.get(f"val_{task.metric}")),
        test=number(figures["test"]),
        higher_is_better=task.higher_is_better,
        shares=f"val_{task.metric}" in task.figure_names,
        images_per_second=number(record.get("images_per_second")),
        seconds=card.seconds,
        epochs=whole(record.get("epoch")),
        parameters=card.parameters,
        bytes=size_of(folder),
        created=card.created,
        settings={
            "task": card.task,
            "network": card.network["name"],
            "data": card.data["name"],
            "fingerprint": card.data["fingerprint"][:12],
            "classes": len(card.classes),
            **settings_of(card.recipe),
            "device": card.hardware.get("device"),
            "precision": card.hardware.get("precision"),
            "skipway": card.versions.get("skipway"),
            "torch": card.versions.get("torch"),
            "commit": card.commit,
        },
    )


def unfinished_row(folder: Path, name: str) -> RunRow:
    """Raises BundleError for a run.json that cannot be read."""
    manifest, record, kept = read_manifest(folder), last_record(folder), checkpoints(folder)
    step = max([whole(record.get("step")) or 0, *(int(one.name.rpartition("-")[2]) for one in kept)])
    begun = (folder / MANIFEST).stat().st_mtime
    return RunRow(
        path=folder,
        name=name,
        state=UNFINISHED,
        note=f"at step {step:,}",
        network=manifest.recipe.model,
        recipe=manifest.recipe.name,
        data=manifest.data,
        images_per_second=number(record.get("images_per_second")),
        seconds=number(record.get("seconds")),
        epochs=whole(record.get("epoch")),
        bytes=size_of(folder),
        created=datetime.fromtimestamp(begun, UTC).isoformat(timespec="seconds"),
        settings={
            "network": manifest.recipe.model,
            "data": manifest.data,
            **settings_of(asdict(manifest.recipe)),
            "precision": manifest.hardware["precision"],
        },
    )


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe by name, as in JSON; its own name as `recipe`, and without the network's."""
    return {
        "recipe" if name == "name" else name: value for name, value in plain(dict(recipe)).items() if name != "model"
    }


def number(*values: Any) -> float | None:
    """The first that is a number."""
    return next((float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)), None)


def whole(value: Any) -> int | None:
    """`value` if it is an integer."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def last_record(folder: Path) -> dict[str, Any]:
    """The last whole line of metrics.jsonl; empty where there is none."""
    try:
        with (folder / "metrics.jsonl").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL))
            lines = stream.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            return record
    return {}


def size_of(folder: Path) -> int:
    """Bytes of the files in `folder` itself."""
    with os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file())
