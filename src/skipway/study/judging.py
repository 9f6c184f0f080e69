"""How wrong a trained network is, by which every study compares its trainings."""

import torch

from skipway.data.loader import open_all
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Split
from skipway.models.contract import Network
from skipway.tasks import Classify
from skipway.tasks.inference import batch_size, scores_of


def errors(net: Network, preprocessing: Preprocessing, split: Split, classes: tuple[str, ...]) -> tuple[float, float]:
    """Error in per cent and loss in nats of `net`, wherever it is, on `split`."""
    device = next(net.parameters()).device
    images = open_all(split, preprocessing)
    scores = torch.cat(list(scores_of(net, images.split(batch_size(device)), preprocessing, device)))
    measured = Classify(classes).meter(scores, torch.from_numpy(split.labels))
    return 100 * (1 - measured["top1"]), measured["loss"]
