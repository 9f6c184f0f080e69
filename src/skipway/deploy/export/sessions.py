"""Exports run by their own runtimes, without torch: what proves an export when it is written answers later on too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skipway.deploy.openvino_core import core
from skipway.errors import BundleError, SkipwayError, first_line

ONNX_FILE, OPENVINO_FILE = "model.onnx", "model.xml"


class Session(NamedTuple):
    """run: arrays in the order of the inputs -> outputs by name; outputs: their names."""

    run: Callable[..., dict[str, np.ndarray]]
    outputs: tuple[str, ...]


class RuntimeMissingError(SkipwayError):
    """A library that runs exports and is not installed."""


def onnx_session(folder: Path, threads: int = 0) -> Session:
    """ONNX Runtime on the processor with so many threads, 0: its own choice.

    Raises RuntimeMissingError, and BundleError for a file that it does not take.
    """
    try:
        import onnxruntime
    except ImportError:
        raise RuntimeMissingError("onnxruntime is not installed: pip install onnxruntime") from None
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others decode meanwhile
    try:
        session = onnxruntime.InferenceSession(folder / ONNX_FILE, settings, providers=["CPUExecutionProvider"])
    except Exception as fault:  # its own classes, of which none is public
        raise unreadable(folder / ONNX_FILE, fault) from None
    taken, names = (tuple(place.name for place in places) for places in (session.get_inputs(), session.get_outputs()))

    def run(*inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(zip(taken, inputs, strict=True))), strict=True))

    return Session(run, names)


def openvino_session(folder: Path, threads: int = 0) -> Session:
    """OpenVINO on the processor in float32, as `onnx_session`."""
    try:
        runtime = core()
    except ImportError:
        raise RuntimeMissingError("openvino is not installed: pip install openvino") from None
    # in float32, as eager is: by itself OpenVINO takes bfloat16 where the processor has it
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = runtime.compile_model(folder / OPENVINO_FILE, "CPU", settings)
    except RuntimeError as fault:
        raise unreadable(folder / OPENVINO_FILE, fault) from None

    def run(*inputs: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled(list(inputs))
        return {output.any_name: found[output].copy() for output in compiled.outputs}

    return Session(run, tuple(output.any_name for output in compiled.outputs))


def unreadable(file: Path, fault: Exception) -> BundleError:
    return BundleError(f"{file} cannot be read ({first_line(fault)}): remove the folder and export again")


SESSIONS: dict[str, Callable[..., Session]] = {"onnx": onnx_session, "openvino": openvino_session}
