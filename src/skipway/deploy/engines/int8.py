"""The network in int8, as `skipway export --format openvino --int8` made it and its gate accepted it."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipway.deploy.engines.base import Engine, EngineInput, EngineKind, EngineMissingError, Options
from skipway.deploy.engines.openvino_cpu import engine_of, require_openvino
from skipway.deploy.engines.openvino_cpu import variants as floating_variants
from skipway.deploy.export.folder import verify
from skipway.deploy.export.sessions import OPENVINO_FILE
from skipway.deploy.openvino_core import core
from skipway.errors import BundleError, first_line

if TYPE_CHECKING:
    from openvino import Model


def build(trained: EngineInput, options: Options) -> Engine:
    """Options: precision ("int8"), batch, streams. Raises EngineMissingError where there is no such export.

    Raises BundleError for one that was changed, or made of other weights.
    """
    folder = require_export(trained)
    require_openvino()
    verify(folder, trained.weights)
    return engine_of(read_export(folder), trained, options, "int8")


def read_export(folder: Path) -> "Model":
    """The graph of an export. Raises BundleError for a file that is none, which checksums of its own do not show."""
    try:
        return core().read_model(folder / OPENVINO_FILE)
    except (RuntimeError, UnicodeDecodeError) as fault:  # the latter where OpenVINO's message repeats bytes of the file
        raise BundleError(
            f"{folder / OPENVINO_FILE} cannot be read ({first_line(fault)}): remove the folder and export again"
        ) from None


def variants(trained: EngineInput) -> list[Options]:
    """As for floating point, without its last resort."""
    require_export(trained)
    found: list[Options] = [{**options, "precision": "int8"} for options in floating_variants(trained)]
    return [options for i, options in enumerate(found) if options not in found[:i]]


def require_export(trained: EngineInput) -> Path:
    if not trained.takes_images:
        raise EngineMissingError(f"int8 is for networks that take images, which those of {trained.task.name} do not")
    if trained.int8 is None or not trained.int8.is_dir():
        raise EngineMissingError("int8 was not exported: skipway export RUN --format openvino --int8")
    return trained.int8


KIND = EngineKind(build, variants)
