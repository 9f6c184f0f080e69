"""What to label next: `skipway select`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipway.bundle.hub import is_on_hub
from skipway.commands.arguments import Folder, as_paths
from skipway.commands.embed import embed_files, gather, origin_of
from skipway.commands.picture_page import Group, Section, Thumbnails, Tile, write_page
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.deploy.predict.image_paths import images_of
from skipway.embedding import selection
from skipway.embedding.network import Embedding
from skipway.errors import SkipwayError
from skipway.hardware import Hardware

SHOWN = 200  # pictures on a page


@dataclass(frozen=True)
class Choice:
    """An image worth a label: its rank from 1, and, by a trained classifier, the class it predicts and the margin of
    its probability over the second class, 0 where it is undecided; "" and None by other networks."""

    rank: int
    image: str
    predicted: str
    margin: float | None


@dataclass(frozen=True)
class Selection:
    """The images to label, of n, in the order of their choice; unread: how many could not be read."""

    model: str
    n: int
    unread: int
    choices: tuple[Choice, ...]


def select(
    model: Folder,
    images: Folder | Sequence[Folder],
    count: int = 100,
    labelled: Folder | Sequence[Folder] = (),
    engine: str = "eager",
    hardware: Hardware | None = None,
    notify: Notify = ignore_message,
) -> Selection:
    """The `count` of `images` (files, folders, patterns) whose labels should teach most.

    A trained classifier's run: the images with the smallest margins, and among them different ones (`embedding.
    selection`). Any other network: images that cover all. labelled: images that have labels already, from which the
    chosen are to differ. Raises SkipwayError.
    """
    if count < 1:
        raise SkipwayError(f"the count of images to select must be at least 1, and is {count}")
    is_run = is_on_hub(model) or Path(model).is_dir()
    embedder, embeddings = embed_files(model, images, engine, hardware, notify, with_scores=is_run)
    scores: list[np.ndarray] = []

    def scored() -> Iterator[Embedding]:
        for found in embeddings:
            if found.scores is not None:
                scores.append(found.scores)
            yield found

    origin = origin_of(embedder, model)
    features, counted = gather(scored(), origin)
    covered, unread = None, counted.unread
    if labelled:
        known, others = gather(embedder.stream(images_of(as_paths(labelled))), origin)
        covered, unread = known.vectors, unread + others.unread
    all_scores = np.stack(scores) / embedder.card.temperature if scores else None
    chosen = selection.select(features.vectors, all_scores, count, covered)
    choices = tuple(choices_of(chosen, features.names, all_scores, embedder.task.classes))
    return Selection(str(model), len(features), unread, choices)


def choices_of(
    chosen: np.ndarray, names: Sequence[str], scores: np.ndarray | None, classes: Sequence[str]
) -> Iterator[Choice]:
    """The images at `chosen`, in that order."""
    margins = None if scores is None else selection.margins(scores)
    for rank, place in enumerate(chosen.tolist(), 1):
        if scores is None or margins is None:
            yield Choice(rank, names[place], "", None)
        else:
            yield Choice(rank, names[place], classes[int(scores[place].argmax())], float(margins[place]))


def write_selection_page(found: Selection, file: Path) -> None:
    """A page in `file` with the pictures of the images to label."""
    thumbnails = Thumbnails()
    tiles = tuple(
        Tile(thumbnails.of(one.image), one.image, () if one.margin is None else (f"{one.predicted}, {one.margin:.2f}",))
        for one in found.choices[:SHOWN]
    )
    about = f"{len(found.choices):,} of {found.n:,} images, in the order of their choice, by {found.model}."
    note = "Below a picture: the predicted class, and the margin of its probability over the next."
    shown = note if found.choices and found.choices[0].predicted else ""
    write_page(file, "Images to label next", [about], [Section("Images", shown, (Group("", tiles),))])
