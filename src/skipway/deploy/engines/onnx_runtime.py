"""ONNX Runtime on the processor, float32."""

import torch
from torch import Tensor

from skipway.deploy.contract import (
    Engine,
    Kind,
    Options,
    Trained,
    at_once,
    filled,
    require_processor,
    usual_batch,
)
from skipway.deploy.formats import onnx_bytes, require_onnxruntime
from skipway.deploy.graph import INPUT


def build(trained: Trained, options: Options) -> Engine:
    """Options: batch. Raises EngineMissingError without onnxruntime."""
    require_processor("onnxruntime", trained.hardware)
    require_onnxruntime()
    return engine_of(onnx_bytes(trained), trained, options)


def engine_of(model: bytes, trained: Trained, options: Options) -> Engine:
    """An engine of a serialized ONNX model that takes uint8 (?, C, size, size)."""
    runtime = require_onnxruntime()
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = trained.hardware.threads
    settings.log_severity_level = 3  # errors: the optimiser warns of constants that it folds
    session = runtime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    batch = int(options["batch"])

    def run(images: Tensor) -> Tensor:
        whole = filled(images, batch).contiguous(memory_format=torch.contiguous_format)
        return torch.from_numpy(session.run(None, {INPUT: whole.numpy()})[0][: len(images)])

    return Engine("onnxruntime", "float32", options, batch, 1, at_once(run))


def variants(trained: Trained) -> list[Options]:
    require_onnxruntime()
    return [{"batch": usual_batch(trained.goal, trained.hardware.device)}]


KIND = Kind(build, variants)
