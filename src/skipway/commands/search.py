"""The images most similar to one or several: `skipway search`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skipway.commands.arguments import Folder, as_paths
from skipway.commands.embed import embed_files, gather, open_embedder, origin_of
from skipway.commands.picture_page import Group, Section, Thumbnails, Tile, write_page
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.deploy.predict.embedder import Embedder
from skipway.deploy.predict.image_paths import images_of
from skipway.embedding.features_file import Features, read_features
from skipway.embedding.neighbours import NeighbourIndex
from skipway.errors import DataError, SkipwayError, refuse_if
from skipway.hardware import Hardware

PARQUET = ".parquet"


@dataclass(frozen=True)
class Match:
    """An image that was found for a query: its rank from 1, and its cosine similarity, 1 for an equal embedding."""

    query: str
    rank: int
    image: str
    similarity: float


@dataclass(frozen=True)
class SearchIndex:
    """Embeddings with the network that made them, ready to be searched; unread: images that could not be read."""

    features: Features
    embedder: Embedder
    index: NeighbourIndex
    unread: int = 0

    def search(self, queries: Sequence[str], top: int = 10) -> Iterator[Match]:
        """The `top` most similar images of each query, a path; the most similar first. Frames of videos are queries of
        their own. Raises DataError for a query that cannot be read, SkipwayError for a `top` below 1."""
        refuse_if(top < 1, f"top is {top}", "give at least 1")
        for query in self.embedder.stream([Path(query) for query in queries]):
            if query.vector is None:
                raise DataError(query.error)
            found = self.index.search(query.vector[None], top)
            for rank, (place, similarity) in enumerate(zip(found.places[0], found.similarities[0], strict=True), 1):
                yield Match(query.name, rank, self.features.names[place], float(similarity))


def open_index(
    source: Folder,
    images: Folder | Sequence[Folder] = (),
    engine: str = "eager",
    hardware: Hardware | None = None,
    notify: Notify = ignore_message,
) -> SearchIndex:
    """What is searched: the parquet file that `skipway embed` wrote, or `images` (files, folders, patterns, videos),
    embedded now by the run or named network `source`.

    Raises SkipwayError where both or neither are given, and where the network of a file is gone or was changed.
    """
    if Path(source).suffix.lower() == PARQUET:
        refuse_if(images, f"{source} holds its images", "leave out --in")
        features = read_features(Path(source))
        model = features.origin["model"]
        refuse_if(not len(features), f"{source} has no embedding", "embed images that can be read")
        try:
            embedder = open_embedder(model, hardware, engine, (), notify)
        except SkipwayError as fault:
            raise SkipwayError(f"{source} was embedded by {model}: {fault}") from None
        if canonical(embedder.origin) != canonical({key: features.origin[key] for key in embedder.origin}):
            raise SkipwayError(f"{source} was embedded by another {model} than is there now: embed its images again")
        return SearchIndex(features, embedder, NeighbourIndex(features.vectors))
    refuse_if(not images, f"{source} is a network", "give the images to search with --in, or a file of embeddings")
    embedder, embeddings = embed_files(source, images, engine, hardware, notify)
    features, count = gather(embeddings, origin_of(embedder, source))
    return SearchIndex(features, embedder, NeighbourIndex(features.vectors), count.unread)


def canonical(origin: object) -> str:
    """Plain values as text, equal where they are after a round trip through JSON."""
    return json.dumps(origin, sort_keys=True)


def search(
    source: Folder,
    queries: Folder | Sequence[Folder],
    images: Folder | Sequence[Folder] = (),
    top: int = 10,
    engine: str = "eager",
    hardware: Hardware | None = None,
    notify: Notify = ignore_message,
) -> list[Match]:
    """The `top` images most similar to each query, a path or several: `skipway.search("new.parquet", "query.jpg")`.

    The arguments are those of `open_index`, which whoever searches more than once keeps. Raises SkipwayError.
    """
    index = open_index(source, images, engine, hardware, notify)
    return list(index.search(query_files(queries), top))


def query_files(queries: Folder | Sequence[Folder]) -> list[str]:
    """The images of paths, folders and patterns. Raises DataError where one of them, or all, name none."""
    files = [str(path) for path in images_of(as_paths(queries))]
    if not files:
        raise DataError("there is no image to find others like: name at least one")
    return files


def write_search_page(matches: Sequence[Match], about: str, file: Path) -> None:
    """A page in `file` with each query beside the images that were found."""
    thumbnails, sections = Thumbnails(), []
    for query in dict.fromkeys(match.query for match in matches):
        found = tuple(
            Tile(thumbnails.of(match.image), match.image, (f"{match.similarity:.3f}",))
            for match in matches
            if match.query == query
        )
        groups = (Group("Query", (Tile(thumbnails.of(query), query),)), Group("Found", found))
        sections.append(Section(Path(query).name, "", groups))
    write_page(file, "Similar images", [about, "Numbers are cosine similarities of embeddings."], sections)
