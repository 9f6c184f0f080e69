"""AlexNet, the first deep convolutional network to win ImageNet.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks. NeurIPS 2012.

Differences from the paper: the form is torchvision's, whose weights are widely used, and follows a later paper
(Krizhevsky: One weird trick for parallelizing convolutional neural networks. 2014, arXiv:1404.5997). It has
- one column instead of two, and 64, 192, 384, 256 and 256 channels instead of 96, 256, 384, 384 and 256;
- no local response normalisation.
Also:
- Weights have PyTorch's default initialisation, uniform by fan-in; the paper's is N(0, 0.01), and 1 for some biases.
- For images of other sizes than 224 pixels the last maps are averaged to 6x6.

State-dict names are torchvision's, so its weights load unchanged.
"""

from collections.abc import Callable

from torch import Tensor, nn

from skipway.models.base import Network
from skipway.models.vgg import Trunk, trunk

# ---------------------------------------------------------------------------------------------------------------------
# Net


class AlexNet(Network):
    """Five convolutions, three of them followed by pooling, and three linear layers."""

    features = property(trunk)

    def __init__(self, classes: int, in_channels: int) -> None:
        super().__init__()
        self.channels, self.strides = [64, 192, 256], [8, 16, 32]
        self.smallest = (
            63  # pooling does not pad: one pixel of the last map needs 3x3 pixels, these 7x7, and these 15x15
        )
        self.first, self.heads, self.stages = "features.0", ("classifier.6",), ()
        layers = (
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        ends = [str(i) for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.features = Trunk({str(i): layer for i, layer in enumerate(layers)}, ends, self.smallest)
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, classes),
        )

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.classifier(self.avgpool(last).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(trunk(self)(x)[-1])


# ---------------------------------------------------------------------------------------------------------------------
# Table


def alexnet(classes: int = 1000, channels: int = 3) -> AlexNet:
    return AlexNet(classes, channels)


NETWORKS: dict[str, Callable[..., AlexNet]] = {"alexnet": alexnet}
