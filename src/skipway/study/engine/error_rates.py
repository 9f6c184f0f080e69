"""Error and loss of a trained network on a split."""

import torch

from skipway.data.dataset import Split
from skipway.data.loader import decode_all
from skipway.data.preprocess import Preprocessing
from skipway.models.base import Network
from skipway.tasks import classifier
from skipway.tasks.inference import batch_size, predict_batches


def errors(net: Network, preprocessing: Preprocessing, split: Split, classes: tuple[str, ...]) -> tuple[float, float]:
    """Error in per cent and loss in nats of `net` on `split`, computed on the device of `net`."""
    device = next(net.parameters()).device
    images = decode_all(split, preprocessing)
    batches = predict_batches(net, images.split(batch_size(device)), preprocessing, device)
    scores = torch.cat([outputs[0] for outputs in batches])
    metrics = classifier(classes).metrics()
    metrics.update((scores,), torch.from_numpy(split.labels))
    measured = metrics.compute()
    return 100 * (1 - measured["top1"]), measured["loss"]
