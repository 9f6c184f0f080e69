"""An export ready to run: verified, its card read, its network loaded by the format's own runtime."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipway.bundle import decode_card
from skipway.bundle.card import Card
from skipway.deploy.export.folder import CARD, EVIDENCE, verify
from skipway.deploy.export.sessions import SESSIONS, Session
from skipway.errors import BundleError, SkipwayError, first_line
from skipway.runtime.preprocess import ArrayPreprocessing
from skipway.tasks.export_reader import Arrays, ExportedTask, ExportReader
from skipway.tasks.exported import reader_for


@dataclass(frozen=True)
class ExportedNetwork:
    """reader: from outputs to predictions; single: whether the network takes one image at a time."""

    folder: Path
    card: Card
    preprocessing: ArrayPreprocessing
    reader: ExportReader
    session: Session
    single: bool

    @classmethod
    def load(cls, folder: Path, threads: int = 0) -> "ExportedNetwork":
        """The export in `folder`; threads: to compute with, 0: as many as its runtime likes.

        Raises BundleError for what is no export, was changed, or is none of this version's, SkipwayError where it
        cannot run here.
        """
        require_export(folder)
        card = decode_card(folder)
        verify(folder, card.weights_sha256)
        evidence = read_evidence(folder)
        preprocessing = ArrayPreprocessing(**card.preprocessing)
        classes = tuple(card.classes)
        task = ExportedTask(card.task, classes, card.calibration or {}, evidence["decoding"], preprocessing)
        try:
            reader = reader_for(task)
        except SkipwayError as fault:
            raise type(fault)(f"{folder} cannot be used, since {fault}") from None
        session = SESSIONS[evidence["format"]](folder, threads)
        missing = [name for name in reader.needed if name not in session.outputs]
        if missing:
            raise BundleError(f"{folder} has no output {missing[0]}: export it again")
        return cls(folder, card, preprocessing, reader, session, evidence["inputs"][0]["shape"][0] == 1)

    def outputs(self, images: np.ndarray) -> list[Arrays]:
        """The outputs of each of several images, uint8 (n, C, *canvas). Raises BundleError where the network fails."""
        parts = np.split(images, len(images)) if self.single else [images]
        try:
            found = [self.session.run(part) for part in parts]
        except Exception as fault:  # each runtime has classes of its own
            raise BundleError(f"{self.folder} fails on an image ({first_line(fault)}): export it again") from None
        rows: list[Arrays] = []
        for named in found:
            rows += [dict(zip(named, one, strict=True)) for one in zip(*named.values(), strict=True)]
        return rows


def require_export(folder: Path) -> None:
    """Raises BundleError unless `folder` looks like an export."""
    if not folder.is_dir():
        raise BundleError(f"{folder} does not exist: give the folder that `skipway export` wrote")
    if not (folder / EVIDENCE).is_file() or not (folder / CARD).is_file():
        run = (folder / "weights.safetensors").is_file()
        what = "a run, not an export" if run else "no export"
        raise BundleError(f"{folder} is {what}: give the folder that `skipway export RUN --format onnx` wrote")


def read_evidence(folder: Path) -> dict[str, Any]:
    """format, inputs and decoding of evidence.json. Raises BundleError for another content."""
    try:
        values = json.loads((folder / EVIDENCE).read_bytes())
        form, inputs, decoding = values["format"], values["inputs"], values.get("decoding", {})
        valid = isinstance(form, str) and isinstance(inputs[0]["shape"][0], str | int) and isinstance(decoding, dict)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise BundleError(f"{folder / EVIDENCE} does not describe an export: export it again")
    if form not in SESSIONS:
        raise BundleError(f"{folder} is in the format {form}: export the run with --format {' or '.join(SESSIONS)}")
    return {"format": form, "inputs": inputs, "decoding": decoding}
