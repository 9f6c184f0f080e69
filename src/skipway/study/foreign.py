"""Networks trained by others, to be examined like our own."""

from dataclasses import dataclass

from torch import Tensor

from skipway import models
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Source, match_classes
from skipway.errors import SkipwayError
from skipway.models.contract import Network
from skipway.models.weights import locate
from skipway.study.runs import images_of


@dataclass(frozen=True)
class Foreign:
    """Somebody's network in evaluation mode. `name`: whose; `source`: the data, its classes in the network's order."""

    name: str
    model: str
    net: Network
    feeding: Preprocessing
    source: Source

    def images(self, split: str, most: int) -> tuple[Tensor, Tensor]:
        """At most `most` images of a split as the network is fed, float32 (n, C, H, W), and labels (n,)."""
        return images_of(self.source.split(split), most, self.feeding)


def open_foreign(text: str, source: Source) -> Foreign:
    """The weights that `text` means (see models.weights.locate). Raises SkipwayError for those not known by name or
    checksum, because nothing says how they are fed, or for data of other classes."""
    record = locate(None, text)[1]
    if record is None or not record.mean:
        raise SkipwayError(
            f"{text} are not known weights, so nothing says how they are fed: see `skipway weights list`"
        )
    net = models.build(record.net, pretrained=text)
    feeding = Preprocessing(len(record.mean), record.size, record.resize, record.mean, record.std)
    return Foreign(record.source, record.net, net.eval(), feeding, match_classes(source, record.classes))
