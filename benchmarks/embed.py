"""Embedding a folder beside predicting it, and searching what was embedded. results/embed.json

    python -m benchmarks.embed PARQUET [--files 10000] [--rounds 3]

PARQUET is a file in the hub's layout, whose encoded images become files. The network in the package, engine eager, is
opened once for each command; parts of the files are predicted and embedded in turns, until each was done by both.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import save
from skipway import Predictor, hardware
from skipway.commands.import_weights import import_weights
from skipway.data import open_dataset
from skipway.deploy.predict.embedder import Embedder
from skipway.embedding.neighbours import NeighbourIndex
from skipway.models.pretrained.embedded import EMBEDDED
from skipway.trained import TrainedModel

PART = 1_000  # files a turn
QUERIES = 100


def written(parquet: str, count: int, folder: Path) -> list[Path]:
    """The first `count` images as files of their own."""
    split, files = open_dataset(parquet).train, []
    for place in range(min(count, len(split))):
        file = folder / f"{place:05}.jpg"
        item = split.items[place]
        file.write_bytes(item if isinstance(item, bytes) else Path(str(item)).read_bytes())
        files.append(file)
    return files


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


Work = Callable[[Sequence[Path]], object]
Seconds = tuple[float, float]


def turns(files: Sequence[Path], predict: Work, embed: Work) -> Iterator[tuple[Seconds, Seconds]]:
    """Seconds of both for each part of the files, in turns."""
    for start in range(0, len(files), PART):
        part = files[start : start + PART]
        yield timed(partial(predict, part)), timed(partial(embed, part))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parquet")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    place = hardware.decide()
    vectors: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        import_weights(EMBEDDED, run)
        predictor, embedder = Predictor(run, place), Embedder(TrainedModel.load(run, place), place)
        files = written(given.parquet, given.files, Path(folder))
        found = [
            turn
            for _ in range(given.rounds)
            for turn in turns(
                files,
                lambda part: list(predictor.predict(part)),
                lambda part: vectors.append(embedder.embed(part)),
            )
        ]
    every = np.concatenate(vectors)[: len(files)]
    index = NeighbourIndex(every)
    searches = [timed(partial(index.search, every[query][None], 10))[0] for query in range(QUERIES)]
    predicted, embedded = ([turn[side] for turn in found] for side in (0, 1))
    save(
        "embed",
        {
            "what": "images a second from files, by turns of 1,000; seconds of one search for the 10 nearest",
            "network": predictor.card.network["name"],
            "size": predictor.preprocessing.size,
            "files": len(files),
            "turns": len(found),
            "images_a_second": {
                "predict": round(PART / statistics.median(clock for clock, _ in predicted), 1),
                "embed": round(PART / statistics.median(clock for clock, _ in embedded), 1),
            },
            "ratio": {
                "clock": round(statistics.median(p[0] / e[0] for p, e in found), 3),
                "processor": round(statistics.median(p[1] / e[1] for p, e in found), 3),
            },
            "search_s": {"median": round(statistics.median(searches), 4), "longest": round(max(searches), 4)},
        },
    )


if __name__ == "__main__":
    main()
