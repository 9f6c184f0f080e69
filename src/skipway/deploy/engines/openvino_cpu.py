"""OpenVINO on the processor: bfloat16 where it has it, and as many streams as keep every core at work.

Each stream has a request and a thread of its own; the threads spend their time outside of Python's lock.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from skipway.deploy.engines.base import (
    Engine,
    EngineInput,
    EngineKind,
    EngineMissingError,
    Options,
    channels_behind,
    pad_batch,
    require_processor,
    usual_batch,
)
from skipway.deploy.export.formats import openvino_graph, save_openvino
from skipway.deploy.openvino_core import core
from skipway.errors import first_line
from skipway.hardware import multiplies_bfloat16
from skipway.tasks.base import Outputs

HINTS = {"float32": "f32", "bfloat16": "bf16"}
GRAPH = "openvino.xml"


def build(trained: EngineInput, options: Options) -> Engine:
    """Options: precision ("float32" or "bfloat16"), batch, streams. Raises EngineMissingError without openvino."""
    require_processor("openvino", trained.hardware)
    return engine_of(graph_of(trained), trained, options)


def graph_of(trained: EngineInput) -> Any:
    """The network's ov.Model: kept in the store, since converting takes longer than labelling a few images."""
    require_openvino()
    kept = trained.store / GRAPH if trained.store else None
    if kept and kept.is_file():
        try:
            return core().read_model(kept)
        except (RuntimeError, UnicodeDecodeError):  # not a whole graph: it is made and kept again
            kept.unlink()
    graph = openvino_graph(trained)
    if kept is None:
        return graph
    save_openvino(graph, kept)
    return core().read_model(kept)  # so that the first time has the digits of every later one


def engine_of(graph: Any, trained: EngineInput, options: Options, name: str = "openvino") -> Engine:
    """An engine of an ov.Model of any batch; of a quantised one, precision is "int8"."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    precision, batch, streams = str(options["precision"]), int(options["batch"]), int(options["streams"])
    graph = graph.clone()
    examples = trained.example(batch)
    graph.reshape({place: list(example.shape) for place, example in enumerate(examples)})
    steps = PrePostProcessor(graph)
    for place, example in enumerate(examples):
        if example.dtype is torch.uint8:
            steps.input(place).tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))  # as images lie in memory
            steps.input(place).model().set_layout(Layout("NCHW"))
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[floating(trained) if precision == "int8" else precision],
        "INFERENCE_NUM_THREADS": trained.hardware.threads,
        "NUM_STREAMS": streams,
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
    }
    if trained.store:
        settings["CACHE_DIR"] = str(trained.store)
    try:
        compiled = core().compile_model(steps.build(), "CPU", settings)
    except RuntimeError as fault:
        raise EngineMissingError(f"{name} cannot run this network ({first_line(fault)})") from fault
    idle: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        idle.put(compiled.create_infer_request())

    def run(*inputs: Tensor) -> Outputs:
        request = idle.get()
        try:
            request.infer([in_layout(pad_batch(given, batch)).numpy() for given in inputs], share_inputs=True)
            # the network's own; an export may have probabilities behind them
            tensors = [request.get_output_tensor(place) for place in range(len(trained.task.output_names))]
            return tuple(torch.from_numpy(tensor.data[: len(inputs[0])].copy()) for tensor in tensors)
        finally:
            idle.put(request)

    threads = ThreadPoolExecutor(streams, thread_name_prefix=name)

    def submit(*inputs: Tensor) -> Future[Outputs]:
        return threads.submit(run, *inputs)

    return Engine(name, precision, options, batch, 2 * streams, submit)


def in_layout(given: Tensor) -> Tensor:
    """An input as the compiled network takes it: uint8 images with their channels behind."""
    return channels_behind(given) if given.dtype is torch.uint8 else given.contiguous()


def floating(trained: EngineInput) -> str:
    """The fastest floating point that the processor has units for."""
    return "bfloat16" if multiplies_bfloat16(trained.hardware.device)[0] else "float32"


def variants(trained: EngineInput) -> list[Options]:
    """Streams and batches worth measuring; float32 last, for where bfloat16 is too coarse."""
    require_openvino()
    threads = trained.hardware.threads
    precisions = list(dict.fromkeys([floating(trained), "float32"]))
    if trained.goal == "latency":
        return [{"precision": p, "batch": 1, "streams": 1} for p in precisions]
    usual = usual_batch(trained)
    # a generator's batch is divided among the streams: of small images several batches under way are rarely there
    shared = max(1, usual // threads) if trained.task.generates else usual
    pairs = dict.fromkeys([(threads, shared), (threads, 1), (max(1, threads // 4), usual)])
    tried: list[Options] = [{"precision": precisions[0], "batch": batch, "streams": n} for n, batch in pairs]
    return tried + [{"precision": p, "batch": shared, "streams": threads} for p in precisions[1:]]


def require_openvino() -> None:
    """Raises EngineMissingError, naming the extra, where the library is missing."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        raise EngineMissingError("openvino is not installed: pip install 'skipway[deploy]'") from None


KIND = EngineKind(build, variants)
