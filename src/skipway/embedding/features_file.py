"""Embeddings in files, parquet for search and npy for NumPy, written as they come and whole or not at all.

Parquet: the columns `image` (text), `embedding` (a list of D float32, null for an image that could not be read) and
`error`; the file's metadata say which network and preprocessing made it. npy: the matrix (n, D), NaN in the rows of
unreadable images, and beside it a CSV file of the same stem with the columns `image` and `error`.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skipway.embedding.network import Embedding
from skipway.errors import DataError, SkipwayError, first_line
from skipway.new_files import require_free, unfinished

ROWS = 4096  # of parquet that are held before they are written
ORIGIN = b"skipway.embedding"  # the key of the metadata


@dataclass(frozen=True, eq=False)
class Features:
    """Embeddings of images: names (n,), vectors float32 (n, D), and what they were made with: `Embedder.origin`, and
    "model", what it was opened as."""

    names: list[str]
    vectors: np.ndarray
    origin: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.names)


Write = Callable[[Iterable[Embedding], Path, int, Mapping[str, Any]], None]


def text_of(name: str) -> str:
    """A file's name as valid UTF-8; bytes that are not become escapes, as parquet takes no others."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_parquet(embeddings: Iterable[Embedding], file: Path, dimension: int, origin: Mapping[str, Any]) -> None:
    """Every embedding as a row of `file`."""
    vectors = pa.list_(pa.float32(), dimension)
    fields = [pa.field("image", pa.string()), pa.field("embedding", vectors), pa.field("error", pa.string())]
    schema = pa.schema(fields, metadata={ORIGIN: json.dumps(dict(origin)).encode()})
    waiting, empty = iter(embeddings), np.zeros(dimension, np.float32)
    with pq.ParquetWriter(unfinished(file), schema, compression="zstd", use_dictionary=False) as writer:
        while rows := list(islice(waiting, ROWS)):
            flat = np.concatenate([empty if row.vector is None else row.vector for row in rows])
            missing = pa.array([row.vector is None for row in rows])
            held = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), type=vectors, mask=missing)
            names = pa.array([text_of(row.name) for row in rows], pa.string())
            errors = pa.array([text_of(row.error) or None for row in rows], pa.string())
            writer.write_table(pa.Table.from_arrays([names, held, errors], schema=schema))
    unfinished(file).rename(file)


def write_npy(embeddings: Iterable[Embedding], file: Path, dimension: int, origin: Mapping[str, Any]) -> None:
    """Every embedding as a row of `file`, and its image in the CSV file beside it. `origin` has no place there."""
    table, empty = file.with_suffix(".csv"), np.full(dimension, np.nan, np.float32)
    count = 0
    with (
        unfinished(file).open("xb") as stream,
        unfinished(table).open("x", newline="", encoding="utf-8", errors="surrogateescape") as names,
    ):
        writer = csv.writer(names)
        writer.writerow(["image", "error"])
        write_header(stream, 0, dimension)
        for row in embeddings:
            stream.write((empty if row.vector is None else row.vector).astype("<f4").tobytes())
            writer.writerow([row.name, row.error])
            count += 1
        stream.seek(0)
        write_header(stream, count, dimension)
    unfinished(table).rename(table)
    unfinished(file).rename(file)


def write_header(stream: BinaryIO, rows: int, dimension: int) -> None:
    """The header of an npy file; NumPy leaves room in it for any number of rows, so that it can be written again."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(stream, header)


WRITERS: dict[str, Write] = {".parquet": write_parquet, ".npy": write_npy}


def writer_for(file: Path) -> Write:
    """How `file` is written, by its suffix. Raises SkipwayError for another suffix, and for what is there already."""
    suffix = file.suffix.lower()
    if suffix not in WRITERS:
        raise SkipwayError(f"--out {file} is neither parquet nor npy: name it so that it ends in .parquet or .npy")
    for place in (file, file.with_suffix(".csv")) if suffix == ".npy" else (file,):
        require_free(place, "--out")
    return WRITERS[suffix]


def read_features(file: Path) -> Features:
    """The readable images of a parquet file that `write_parquet` wrote. Raises DataError for any other file."""
    remedy = "give the parquet file that `skipway embed` wrote"
    try:
        with pq.ParquetFile(file) as opened:
            metadata = opened.schema_arrow.metadata or {}
            if ORIGIN not in metadata:
                raise DataError(f"{file} holds no embeddings of `skipway embed`: {remedy}")
            table = opened.read(["image", "embedding"])
    except (OSError, pa.ArrowInvalid, KeyError) as fault:
        raise DataError(f"{file} cannot be read ({first_line(fault)}): {remedy}") from None
    table = table.filter(table["embedding"].is_valid())
    column = table["embedding"].combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size)
    return Features(table["image"].to_pylist(), vectors, json.loads(metadata[ORIGIN]))
