"""Where in an image a trained network sees a class: `skipway explain`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from skipway.commands.arguments import Folder, as_paths, resolve_hardware
from skipway.deploy.explainer import METHODS, Explainer, Explanation, free_folder, new_files, save
from skipway.deploy.predict.image_paths import images_of
from skipway.errors import DataError, UnknownNameError
from skipway.hardware import Hardware

BOTH = "both"


def explain(
    run: Folder,
    images: Folder | Sequence[Folder],
    label: str | None = None,
    method: str = BOTH,
    out: Folder | None = None,
    hardware: Hardware | None = None,
) -> list[tuple[Path, Path, Explanation | DataError]]:
    """A picture for each image that shows where the network sees `label` (the most likely class when None).

    images: files, folders or patterns. method: "grad-cam", "occlusion" or "both". out: the folder of the pictures; None
    for a new folder `explained`. Returns, for each image, its path, the picture's path, and the explanation, or the
    DataError of an image that cannot be read, which has no picture. Raises SkipwayError.
    """
    return list(explain_each(run, images, label, method, out, hardware))


def explain_each(
    run: Folder,
    images: Folder | Sequence[Folder],
    label: str | None,
    method: str,
    out: Folder | None,
    hardware: Hardware | None,
) -> Iterator[tuple[Path, Path, Explanation | DataError]]:
    """As `explain`, an image at a time."""
    methods = {**{name: (name,) for name in METHODS}, BOTH: METHODS}
    if method not in methods:
        raise UnknownNameError("method", method, methods, f"one of {', '.join(methods)}")
    paths = list(images_of(as_paths(images)))
    explainer = Explainer(os.fspath(run), resolve_hardware(hardware))
    if label is not None:
        explainer.place_of(label)
    for path, file in zip(paths, new_files(paths, Path(out) if out else free_folder()), strict=True):
        try:
            found = explainer.explain(path, label, methods[method])
        except DataError as fault:
            yield path, file, fault
            continue
        save(found, file)
        yield path, file, found
