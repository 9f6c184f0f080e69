"""ONNX Runtime on the processor, float32."""

import torch
from torch import Tensor

from skipway.deploy.engines.base import (
    Engine,
    EngineInput,
    EngineKind,
    Options,
    pad_batch,
    require_processor,
    run_synchronously,
    usual_batch,
)
from skipway.deploy.export.formats import onnx_bytes, require_onnxruntime
from skipway.tasks.base import Outputs


def build(trained: EngineInput, options: Options) -> Engine:
    """Options: batch. Raises EngineMissingError without onnxruntime."""
    require_processor("onnxruntime", trained.hardware)
    require_onnxruntime()
    return engine_of(onnx_bytes(trained), trained, options)


def engine_of(model: bytes, trained: EngineInput, options: Options) -> Engine:
    """An engine of a serialized ONNX model of any batch."""
    runtime = require_onnxruntime()
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = trained.hardware.threads
    settings.log_severity_level = 3  # errors: the optimiser warns of constants that it folds
    session = runtime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    batch, names = int(options["batch"]), trained.task.input_names

    def run(*inputs: Tensor) -> Outputs:
        whole = [pad_batch(given, batch).contiguous().numpy() for given in inputs]
        found = session.run(None, dict(zip(names, whole, strict=True)))
        return tuple(torch.from_numpy(output[: len(inputs[0])]) for output in found)

    return Engine("onnxruntime", "float32", options, batch, 1, run_synchronously(run))


def variants(trained: EngineInput) -> list[Options]:
    require_onnxruntime()
    return [{"batch": usual_batch(trained)}]


KIND = EngineKind(build, variants)
