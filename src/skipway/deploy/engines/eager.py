"""The reference engine: the network in float32, by the path that evaluation takes."""

from torch import Tensor

from skipway.deploy.engines.base import Engine, EngineInput, EngineKind, Options, run_synchronously
from skipway.tasks.base import Outputs
from skipway.tasks.inference import batch_size, predict_batches


def build(trained: EngineInput, options: Options) -> Engine:
    """Its scores are evaluation's, digit for digit, and so its batch is evaluation's, whatever the goal."""
    device = trained.hardware.device
    batch = batch_size(device, trained.preprocessing.canvas)

    def run(images: Tensor) -> Outputs:
        return next(predict_batches(trained.net, [images], trained.preprocessing, device))

    return Engine("eager", "float32", options, batch, 1, run_synchronously(run))


KIND = EngineKind(build, lambda trained: [{}])
