"""The reference: the network as it was trained and judged, in float32, by the path that evaluation takes."""

from torch import Tensor

from skipway.deploy.contract import Engine, Kind, Options, Trained, at_once
from skipway.tasks.inference import batch_size, scores_of


def build(trained: Trained, options: Options) -> Engine:
    """Its scores are evaluation's, digit for digit, and so its batch is evaluation's, whatever the goal."""
    device = trained.hardware.device

    def run(images: Tensor) -> Tensor:
        return next(scores_of(trained.net, [images], trained.preprocessing, device))

    return Engine("eager", "float32", options, batch_size(device), 1, at_once(run))


KIND = Kind(build, lambda trained: [{}])
