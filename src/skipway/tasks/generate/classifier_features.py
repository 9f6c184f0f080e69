"""Features and class probabilities of images, from a trained classifier.

Distances between sets of images are measured in these features, and the classes of samples are judged by them, so the
name and checksum of the classifier belong beside every figure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from skipway import models
from skipway.data.decode import Colour
from skipway.data.preprocess import Preprocessing
from skipway.download import digest
from skipway.errors import SkipwayError, refuse_if
from skipway.models.base import Network
from skipway.models.pretrained import embedded
from skipway.tasks.inference import batch_size, predict_batches

LUMA = (19595, 38470, 7471)  # of 65536: red, green and blue in grey (BT.601), as Pillow has them


def with_channels(images: Tensor, channels: int, background: Colour) -> Tensor:
    """uint8 (n, C, H, W), grey, colour, or colour and alpha, as uint8 (n, channels, H, W), 1 or 3, or C itself.

    Transparent pixels are blended with `background`; grey is the luma, as when files are read. Raises SkipwayError for
    other numbers of channels.
    """
    own = images.shape[1]
    if own == channels:
        return images
    refuse_if(
        own not in (1, 3, 4) or channels not in (1, 3),
        f"images have {own} channels and the network takes {channels}",
        "only grey, colour, and colour with alpha can be converted",
    )
    if own == 4:
        alpha, behind = images[:, 3:].int(), torch.tensor(background, device=images.device).view(1, 3, 1, 1)
        blended = images[:, :3].int() * alpha + behind * (255 - alpha)
        images = ((blended + 127) // 255).to(torch.uint8)
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    return ((images.int() * weights).sum(1, keepdim=True) + 32768 >> 16).to(torch.uint8)


class ClassifierOutputs(NamedTuple):
    """Of n images: features float32 (n, d), the mean over positions of the last feature map; probabilities float32
    (n, classes)."""

    features: np.ndarray
    probabilities: np.ndarray


class FeaturesAndScores(nn.Module):
    """A classifier whose outputs are the pooled last feature map (N, d) and the class scores (N, classes)."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self.net.features(x)[-1]
        return last.mean((2, 3)), self.net.classify(last)


@dataclass(frozen=True)
class ClassifierFeatures:
    """A trained classifier as a source of features.

    name: for printing; checksum: SHA-256 of its weights' file, in hexadecimal; net: on `device`; classes: names in the
    order of its scores.
    """

    name: str
    checksum: str
    net: Network
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    device: torch.device

    @classmethod
    def embedded(cls, device: torch.device) -> Self:
        """The classifier of photographs in the package. Raises SkipwayError in an installation without it."""
        card = embedded.card()
        if card is None:
            raise SkipwayError("this installation has no embedded weights: give a trained classifier")
        net = models.build(**card["network"], pretrained=embedded.EMBEDDED).to(device)
        net = net.to(memory_format=torch.channels_last).eval()
        preprocessing, classes = Preprocessing(**card["preprocessing"]), tuple(card["classes"])
        return cls(embedded.NAME, digest(embedded.file(), "sha256"), net, preprocessing, classes, device)

    @property
    def label(self) -> str:
        """Name and checksum, for printing beside a figure."""
        return f"{self.name} (weights {self.checksum[:12]})"

    def batches(self, images: Tensor) -> Iterator[Tensor]:
        """The images as inputs of the network, in batches uint8 (at most `batch_size`, channels, *canvas)."""
        prepare = self.preprocessing
        for part in images.split(batch_size(self.device, prepare.canvas)):
            converted = with_channels(part.cpu(), prepare.channels, prepare.background)
            yield torch.stack([prepare.fitted(image) for image in converted])

    def outputs(self, images: Tensor) -> ClassifierOutputs:
        """Features and probabilities of uint8 (n, C, H, W), of any size, which is fitted and normalised as the
        classifier's own images are. An image's do not depend on the others.

        Raises SkipwayError for another type or shape, and for channels that cannot be converted.
        """
        wrong = images.dtype != torch.uint8 or images.dim() != 4 or not len(images)
        refuse_if(wrong, f"images are {images.dtype} {tuple(images.shape)}", "uint8 (n, C, H, W) is needed")
        both = FeaturesAndScores(self.net)
        found = list(predict_batches(both, self.batches(images), self.preprocessing, self.device))
        features, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        return ClassifierOutputs(features.numpy(), scores.softmax(1).numpy())

    def labels_of(self, labels: Sequence[int], classes: Sequence[str]) -> np.ndarray:
        """int64 (n,): `labels`, indices of names in `classes`, as indices of the same names in the classifier's.

        Raises SkipwayError for a class that the classifier does not have.
        """
        own = {name: index for index, name in enumerate(self.classes)}
        missing = [classes[label] for label in sorted(set(labels)) if classes[label] not in own]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        refuse_if(
            missing,
            f"the classifier {self.name} does not have the class {missing[0]!r}{more}" if missing else "",
            "give one that was trained on the same classes",
        )
        return np.array([own[classes[label]] for label in labels], dtype=np.int64)

    def accuracy(self, probabilities: np.ndarray, labels: Sequence[int], classes: Sequence[str]) -> float:
        """The share of images whose most probable class, of all that the classifier has, is the one asked for.

        probabilities (n, the classifier's classes), of `outputs`; labels: n indices of names in `classes`, the
        generator's. Classes are matched by name. Raises SkipwayError for a class that the classifier does not have.
        """
        return float((probabilities.argmax(1) == self.labels_of(labels, classes)).mean())
