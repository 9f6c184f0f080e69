"""A trained network in another program's format: `skipway export`."""

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from skipway.commands.arguments import Folder, as_paths
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.deploy.export.export import PROVEN_ON, ExportRequest, ExportResult
from skipway.deploy.export.export import export as write_export
from skipway.deploy.predict.image_paths import images_of


def export(
    run: Folder,
    format: str = "onnx",  # noqa: A002 - the word of the command line
    out: Folder | None = None,
    int8: bool = False,
    max_drop: float = 0.5,
    images: Folder | Sequence[Folder] = (),
    data: Folder | None = None,
    nms: bool = False,
    notify: Notify = ignore_message,
) -> ExportResult:
    """Export the bundle `run`: uint8 images in, normalisation inside, any batch; compared with eager before it is kept.
    Of a generator, the velocity of noisy images at given times, and whole samples are compared.

    format: "onnx", "openvino" or "torch". out: a new folder, RUN/exports/<format> when None. int8: in int8, if that
    loses at most `max_drop` points on images that it was not calibrated on (OpenVINO). images, data: what to compare
    on; the training's data when neither is given, and noise for a generator. nms: with non-maximum suppression of
    overlapping boxes inside, for one image at a time (onnx, openvino). notify: called with a line for each mixture of
    precisions. Raises SkipwayError, and nothing is left behind.
    """
    shown = list(islice(images_of(as_paths(images)), PROVEN_ON)) if images else []
    place = None if data is None else os.fspath(data)
    request = ExportRequest(format, Path(out) if out else None, shown, place, max_drop if int8 else None, nms)
    return write_export(os.fspath(run), request, notify)
