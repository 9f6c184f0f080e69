"""Published pretrained networks, for analysis beside the trained ones."""

from dataclasses import dataclass

from torch import Tensor

from skipway import models
from skipway.data.dataset import Dataset, match_classes
from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError
from skipway.models.base import Network
from skipway.models.pretrained.weights import locate
from skipway.study.engine.runs import images_of


@dataclass(frozen=True)
class PretrainedNetwork:
    """A pretrained network in evaluation mode. `name`: its source; `dataset`: the data set, with its classes in the
    network's order."""

    name: str
    model: str
    net: Network
    preprocessing: Preprocessing
    dataset: Dataset

    def images(self, split: str, most: int) -> tuple[Tensor, Tensor]:
        """At most `most` images of a split, preprocessed for this network: float32 (n, C, H, W), and labels (n,)."""
        return images_of(self.dataset.split(split), most, self.preprocessing)


def open_pretrained(text: str, dataset: Dataset) -> PretrainedNetwork:
    """The network with the weights `text`, a name or a file (see models.pretrained.weights.locate).

    Raises SkipwayError if the weights are not known by name or checksum, because their preprocessing is unknown, or if
    the data set has other classes.
    """
    record = locate(None, text)[1]
    if record is None or not record.mean:
        raise SkipwayError(
            f"{text} are not known weights, so their preprocessing is unknown: see `skipway weights list`"
        )
    net = models.build(record.net, pretrained=text)
    preprocessing = Preprocessing(len(record.mean), record.size, record.resize, record.mean, record.std)
    matched = match_classes(dataset, record.classes)
    return PretrainedNetwork(record.source, record.net, net.eval(), preprocessing, matched)
