"""Write predictions as they are made: a table for people, JSON lines and CSV for machines.

Nothing is held but what a table needs to align: a million answers take the memory of a few hundred.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from itertools import count as count_from
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.table import Table

from skipway.deploy.predict.pages import item_called, page_of
from skipway.deploy.predict.video import FrameReader, stem_of
from skipway.errors import SkipwayError, printable
from skipway.json_text import is_finite, to_json
from skipway.new_files import require_free, unfinished
from skipway.reporting.pictures import as_rgb
from skipway.tasks.presenter import Prediction, Presenter

if TYPE_CHECKING:
    from skipway.data.preprocess import Preprocessing

Counted = TypeVar("Counted", bound=Prediction)
ROWS = 200  # of a table that are aligned with each other


@dataclass(frozen=True)
class Count:
    """How many images there were, and how many of them could not be read."""

    images: int = 0
    unread: int = 0

    def add(self, prediction: Prediction) -> "Count":
        """With one more, which is named on standard error when it is unreadable."""
        if prediction.error:
            print(f"skipway: {printable(prediction.error)}", file=sys.stderr)
        return Count(self.images + 1, self.unread + bool(prediction.error))


def print_table(predictions: Iterable[Prediction], present: Presenter, console: Console) -> Count:
    """One row an image: its name and what is predicted, as `present` shows it."""
    count, waiting = Count(), iter(predictions)
    while part := list(islice(waiting, ROWS)):
        table = Table("image", *present.table_columns, box=None, pad_edge=False, show_header=not count.images)
        for prediction in part:
            count = count.add(prediction)
            if not prediction.error:
                table.add_row(prediction.name, *present.table_row(prediction))
        if table.row_count:
            console.print(table)
    return count


def print_json_lines(predictions: Iterable[Prediction], present: Presenter) -> Count:
    """One JSON object a line and image, on standard output: image, the page of a TIFF file of several, what is
    predicted, or error."""
    count = Count()
    for prediction in predictions:
        row = {**page(prediction), **present.row(None if prediction.error else prediction)}
        if not is_finite(row):
            prediction, row = not_finite(prediction), {**page(prediction), **present.row(None)}
        count = count.add(prediction)
        error = {"error": prediction.error} if prediction.error else {}
        print(to_json({"image": prediction.name, **row, **error}))
    return count


def page(prediction: Prediction) -> dict[str, int]:
    """The number of a page of a TIFF file."""
    found = page_of(prediction.name)
    return {} if found is None else {"page": found[1]}


def not_finite(prediction: Prediction) -> Prediction:
    """The error in place of a prediction whose numbers are NaN or infinite."""
    why = f"{prediction.name}: the network's outputs for it are NaN or infinite: use another engine, or train again"
    return replace(prediction, error=why)


def write_csv(predictions: Iterable[Prediction], present: Presenter, file: Path, top: int) -> Count:
    """Rows of image and the columns of `present`, for `top` classes, which is at most as many as the network has: so no
    column is empty. The row of an image that could not be read has only its name; the reason is printed on stderr.

    They go to `unfinished(file)`, which takes the name `file` at the end. Raises SkipwayError as `require_free`.
    """
    require_free(file, "--csv")
    count = Count()
    with unfinished(file).open("x", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *present.csv_header(top)])
        for prediction in predictions:
            rows = present.csv_rows(None if prediction.error else prediction, top)
            if not is_finite(rows):
                prediction, rows = not_finite(prediction), present.csv_rows(None, top)
            count = count.add(prediction)
            writer.writerows([prediction.name, *row] for row in rows)
    unfinished(file).rename(file)
    return count


def write_coco(predictions: Iterable[Prediction], present: Presenter, classes: Sequence[str], file: Path) -> Count:
    """COCO's images, annotations with scores, and categories, both numbered from 1; written when all are known.

    Raises SkipwayError as `require_free`, and for a task without objects.
    """
    require_free(file, "--coco")
    count = Count()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for prediction in predictions:
        image, objects = ({}, []) if prediction.error else present.coco(prediction, classes)
        if not is_finite(objects):
            prediction = not_finite(prediction)
        count = count.add(prediction)
        if prediction.error:
            continue
        images.append({"id": count.images, "file_name": prediction.name, **image})
        annotations += [{"id": len(annotations) + i, "image_id": count.images, **o} for i, o in enumerate(objects, 1)]
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    unfinished(file).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8", errors="surrogateescape")
    unfinished(file).rename(file)
    return count


def require_new_folder(folder: Path, option: str) -> None:
    """Makes `folder`. Raises SkipwayError where it is not empty, or cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise SkipwayError(f"{folder} cannot be made ({fault.strerror}): choose another {option}") from None
    if any(folder.iterdir()):
        raise SkipwayError(f"{folder} is not empty: choose another {option}")


def drawn(
    predictions: Iterable[Prediction],
    present: Presenter,
    classes: Sequence[str],
    preprocessing: "Preprocessing",
    folder: Path,
) -> Iterator[Prediction]:
    """`predictions`; the image of each, with what was found in it, goes to `folder` as JPEG, under its own name; that
    of a frame has its number, as in clip-000012.jpg.

    Raises SkipwayError for a task whose predictions are not drawn.
    """
    frames = FrameReader()
    for prediction in predictions:
        if not prediction.error:
            pixels = frames.read(prediction.name)
            if pixels is None:
                item = item_called(prediction.name, preprocessing)
                pixels = preprocessing.decoded(item, prediction.name).permute(1, 2, 0).numpy()
            picture = present.draw(as_rgb(pixels), prediction, classes)
            picture.save(free_name(folder, stem_of(prediction.name), ".jpg"), quality=92)
        yield prediction


def masked(predictions: Iterable[Prediction], present: Presenter, folder: Path) -> Iterator[Prediction]:
    """`predictions`; the class of each pixel goes to `folder` as PNG with a palette, under the image's own name.

    Raises SkipwayError for a task whose predictions are not of pixels.
    """
    for prediction in predictions:
        if not prediction.error:
            present.mask(prediction).save(free_name(folder, stem_of(prediction.name), ".png"), optimize=True)
        yield prediction


def free_name(folder: Path, stem: str, ending: str) -> Path:
    """folder/stem with `ending`, and a number behind the stem where that is taken by an image of another folder."""
    names = chain([folder / f"{stem}{ending}"], (folder / f"{stem}-{i}{ending}" for i in count_from(2)))
    return next(name for name in names if not name.exists())


def counted(predictions: Iterable[Counted], engine: str) -> Iterator[Counted]:
    """`predictions`; a bar on standard error counts them, and their number a second, where a person watches."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    layout = (
        SpinnerColumn(),
        TextColumn("{task.completed:,} images, {task.fields[rate]} images/s"),
        TimeElapsedColumn(),
    )
    # answers go to standard output by themselves: rich would move them to the bar's stream
    watched = Progress(
        *layout,
        TextColumn(engine),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with watched as progress:
        bar = progress.add_task("predict", total=None, rate="...")
        for prediction in predictions:
            progress.advance(bar)
            task = progress.tasks[0]
            if task.finished_time is None and task.elapsed:
                progress.update(bar, rate=f"{task.completed / task.elapsed:,.0f}")
            yield prediction
