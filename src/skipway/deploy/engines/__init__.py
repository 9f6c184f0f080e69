"""Every engine by name. Eager is the reference; the others count only where they agree with it."""

from skipway.deploy.contract import Engine, EngineMissingError, Kind, Options, Trained
from skipway.deploy.engines import compiled, cuda_graphs, eager, folded, int8, onnx_runtime, openvino_cpu
from skipway.errors import UnknownNameError

# in the order in which they are tried, those that start soonest first
ENGINES: dict[str, Kind] = {
    "eager": eager.KIND,
    "int8": int8.KIND,
    "openvino": openvino_cpu.KIND,
    "onnxruntime": onnx_runtime.KIND,
    "folded": folded.KIND,
    "compile": compiled.KIND,
    "cuda-graphs": cuda_graphs.KIND,
}

__all__ = ["ENGINES", "Engine", "EngineMissingError", "Kind", "Options", "Trained", "build"]


def build(name: str, trained: Trained, options: Options | None = None) -> Engine:
    """The engine called `name`, with `options` or its usual ones.

    Raises UnknownNameError for a name that is none, EngineMissingError where it cannot run.
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES, f"one of auto, {', '.join(ENGINES)}")
    kind = ENGINES[name]
    return kind.build(trained, kind.variants(trained)[0] if options is None else options)
