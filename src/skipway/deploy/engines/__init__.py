"""Every engine by name. Eager is the reference; the others count only where they agree with it."""

from skipway.deploy.engines import compiled, cuda_graphs, eager, fused_batchnorm, int8, onnx_runtime, openvino_cpu
from skipway.deploy.engines.base import Engine, EngineInput, EngineKind, EngineMissingError, Options
from skipway.errors import UnknownNameError

# in the order in which they are tried, those that start soonest first
ENGINES: dict[str, EngineKind] = {
    "eager": eager.KIND,
    "int8": int8.KIND,
    "openvino": openvino_cpu.KIND,
    "onnxruntime": onnx_runtime.KIND,
    "folded": fused_batchnorm.KIND,
    "compile": compiled.KIND,
    "cuda-graphs": cuda_graphs.KIND,
}

__all__ = ["ENGINES", "Engine", "EngineInput", "EngineKind", "EngineMissingError", "Options", "build"]


def build(name: str, trained: EngineInput, options: Options | None = None) -> Engine:
    """The engine called `name`, with `options` or its usual ones.

    Raises UnknownNameError for a name that is none, EngineMissingError where it cannot run.
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES, f"one of auto, {', '.join(ENGINES)}")
    kind = ENGINES[name]
    return kind.build(trained, kind.variants(trained)[0] if options is None else options)
