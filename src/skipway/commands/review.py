"""What stands out among images in feature space: wrong labels, near duplicates and outliers: `skipway review`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipway.commands.arguments import Folder
from skipway.commands.embed import open_embedder
from skipway.commands.picture_page import Group, Section, Thumbnails, Tile, write_page
from skipway.commands.probe import embed_split
from skipway.commands.unlabelled import open_images
from skipway.data.dataset import Dataset, Item, Split
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.data.targets import ClassTargets
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.embedding.label_errors import find_label_errors
from skipway.embedding.neighbours import (
    DUPLICATE,
    NEAREST,
    NeighbourIndex,
    near_duplicates,
    outlier_scores,
)
from skipway.embedding.probe import cross_validated
from skipway.errors import DataError, SkipwayError
from skipway.hardware import Hardware
from skipway.models.pretrained.embedded import EMBEDDED

SHOWN = 60  # pictures of each kind on a page
COLUMNS = ("finding", "rank", "image", "split", "label", "suggested", "group", "score")


@dataclass(frozen=True)
class ImageFinding:
    """An image that stands out. finding: "label error", "near duplicate" or "outlier"; rank: from 1, clearest first.

    label, suggested: class names, "" where they do not apply; group: the number of the group of near duplicates, from
    1, 0 for other findings. score: the margin of the label's probability, from -1 to 1, negative where another class is
    likelier; the similarity to the most similar image; or one minus the mean similarity to the nearest images.
    """

    finding: str
    rank: int
    image: str
    split: str
    label: str
    suggested: str
    group: int
    score: float


@dataclass(frozen=True, eq=False)
class Review:
    """What was found among n images; unread: how many could not be read; remark: why no labels were looked at, ""
    where they were. `items` are the images by split and name, for their pictures."""

    data: str
    model: str
    n: int
    unread: int
    remark: str
    findings: tuple[ImageFinding, ...]
    items: dict[tuple[str, str], Item]

    def of(self, finding: str) -> list[ImageFinding]:
        """The findings of one kind, the clearest first."""
        return [one for one in self.findings if one.finding == finding]

    def rows(self) -> list[dict[str, Any]]:
        """The findings as plain values."""
        return [asdict(one) for one in self.findings]


@dataclass(frozen=True, eq=False)
class Embedded:
    """The readable images of all splits: names, splits, items and embeddings, and class names by label, int64 (n,), -1
    throughout where there are none."""

    names: list[str]
    splits: list[str]
    items: list[Item]
    vectors: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    unread: int

    def finding(
        self, kind: str, rank: int, place: int, score: float, suggested: str = "", group: int = 0
    ) -> ImageFinding:
        label = self.classes[self.labels[place]] if self.labels[place] >= 0 else ""
        return ImageFinding(kind, rank, self.names[place], self.splits[place], label, suggested, group, float(score))


def review(
    data: Folder | Dataset,
    model: Folder = EMBEDDED,
    similarity: float = DUPLICATE,
    top: int = 100,
    engine: str = "eager",
    hardware: Hardware | None = None,
    notify: Notify = ignore_message,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
) -> Review:
    """Wrong labels, near duplicates and outliers of `data`, in the features of the run or named network `model`.

    data: images with or without classes. similarity: the least cosine similarity of near duplicates (see
    `embedding.neighbours`); top: outliers that are named. Labels are judged where each image has one class (see
    `embedding.label_errors`). Raises SkipwayError.
    """
    if not 0 < similarity <= 1:
        raise SkipwayError(f"similarity must be above 0 and at most 1, and is {similarity}")
    dataset = open_images(data, reading)
    embedded = embed_all(dataset, model, engine, hardware, notify)
    findings: list[ImageFinding] = []
    remark = ""
    try:
        findings += label_findings(embedded)
    except DataError as fault:
        remark = str(fault)
    neighbours = NeighbourIndex(embedded.vectors).others(NEAREST)
    for number, group in enumerate(near_duplicates(neighbours, similarity), 1):
        for place in group:
            score = neighbours.similarities[place].max()
            findings.append(embedded.finding("near duplicate", number, place, score, group=number))
    scores = outlier_scores(neighbours)
    order = np.argsort(-scores, kind="stable")[:top]
    findings += [embedded.finding("outlier", i, place, scores[place]) for i, place in enumerate(order, 1)]
    items = dict(zip(zip(embedded.splits, embedded.names, strict=True), embedded.items, strict=True))
    named = str(model)
    return Review(dataset.name, named, len(embedded.names), embedded.unread, remark, tuple(findings), items)


def embed_all(dataset: Dataset, model: Folder, engine: str, hardware: Hardware | None, notify: Notify) -> Embedded:
    """The images of every split, embedded."""
    embedder = open_embedder(model, hardware, engine, (), notify)
    names: list[str] = []
    splits: list[str] = []
    items: list[Item] = []
    vectors, labels, unread = [], [], 0
    for name, split in dataset.splits.items():
        part = embed_split(embedder, split)
        names += [split.names[place] for place in part.places]
        splits += [name] * len(part.places)
        items += [split.items[place] for place in part.places]
        vectors.append(part.vectors)
        labels.append(labels_of(split, dataset.classes)[part.places])
        unread += part.unread
    return Embedded(names, splits, items, np.concatenate(vectors), np.concatenate(labels), dataset.classes, unread)


def labels_of(split: Split, classes: Sequence[str]) -> np.ndarray:
    """int64 (n,), the class of each image; -1 where images do not have one class each."""
    one = isinstance(split.targets, ClassTargets) and classes
    return split.labels if one else np.full(len(split), -1, dtype=np.int64)


def label_findings(embedded: Embedded) -> Iterator[ImageFinding]:
    """Suspicious labels, the most suspicious first. Raises DataError where images do not have one class each."""
    if (embedded.labels < 0).any():
        raise DataError("labels were not looked at: not every image has one class")
    probabilities = cross_validated(embedded.vectors, embedded.labels, len(embedded.classes))
    errors = find_label_errors(probabilities, embedded.labels)
    for rank, (place, suggested) in enumerate(zip(errors.places, errors.suggested, strict=True), 1):
        yield embedded.finding("label error", rank, place, errors.margins[place], embedded.classes[suggested])


def write_review_page(found: Review, file: Path) -> None:
    """A page in `file` with the pictures of the clearest findings of each kind."""
    thumbnails = Thumbnails()

    def tile(one: ImageFinding, *lines: str) -> Tile:
        return Tile(thumbnails.of(one.image, found.items[one.split, one.image]), one.image, lines)

    errors, outliers = found.of("label error"), found.of("outlier")
    duplicates: dict[int, list[ImageFinding]] = {}
    for one in found.of("near duplicate")[:SHOWN]:
        duplicates.setdefault(one.group, []).append(one)
    shown = tuple(
        tile(one, f"{one.label}?", f"more like {one.suggested}", f"{one.score:.2f}") for one in errors[:SHOWN]
    )
    groups = tuple(
        Group("", tuple(tile(one, one.split, one.label, f"{one.score:.3f}") for one in group))
        for group in duplicates.values()
    )
    far = tuple(tile(one, one.label, f"{one.score:.2f}") for one in outliers[:SHOWN])
    about_labels = found.remark or (
        f"{len(errors):,} labels that a linear classifier, fitted to the other images, contradicts with confidence "
        "(confident learning, Northcutt 2021), the least likely first."
    )
    sections = [
        Section("Label errors", about_labels, (Group("", shown),)),
        Section(
            "Near duplicates", f"{len({o.group for o in found.of('near duplicate')}):,} groups, by similarity.", groups
        ),
        Section("Outliers", "The images least similar to their nearest others.", (Group("", far),)),
    ]
    about = [f"{found.n:,} images of {found.data}, in the features of {found.model}."]
    write_page(file, "Review of images", about, sections)
