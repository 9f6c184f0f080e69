"""Fully convolutional networks: two convolutions on the last map of a dilated network.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation. CVPR 2015, arXiv:1411.4038.

Differences from the paper, as in torchvision, whose weights load unchanged:
- The body is residual and dilated, with maps of stride 8, instead of VGG with skips from finer maps.
- There is a 3x3 convolution before that of the scores, and an auxiliary classifier on the map before the last one
  (Zhao, Shi, Qi, Wang, Jia: Pyramid Scene Parsing Network. CVPR 2017, arXiv:1612.01105, sec. 3.3).
- Scores are interpolated bilinearly, not by learned convolutions.

Convolutions are initialised as in `initialise_head`; torchvision's are PyTorch's default. State-dict names are
torchvision's.
"""

from torch import Tensor, nn

from skipway.models.base import ModelOutput, Network
from skipway.models.dilation import dilate
from skipway.models.segmentation.base import Segmenter, initialise_head, resized

OUTPUT_STRIDE = 8


class FCNHead(nn.Sequential):
    """A 3x3 convolution to a quarter of the channels, dropout, and scores. (N, c_in, h, w) -> (N, classes, h, w)."""

    def __init__(self, c_in: int, classes: int) -> None:
        width = c_in // 4
        scores = nn.Conv2d(width, classes, 1)
        super().__init__(
            nn.Conv2d(c_in, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            scores,
        )
        initialise_head(self, scores)


class DilatedSegmenter(Segmenter):
    """`body`, dilated, a `classifier` of its last map, and in training `aux_classifier` of the map before it.

    `classifier` ends with the convolution of the scores as its child `4`.
    """

    def __init__(self, body: Network, classifier: nn.Module, classes: int) -> None:
        super().__init__(dilate(body, OUTPUT_STRIDE), ("classifier.4", "aux_classifier.4"))
        self.aux_classifier = FCNHead(body.channels[-2], classes)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor | ModelOutput:
        *_, before, last = self.features(x)
        scores = resized(self.classifier(last), x)
        return ModelOutput(scores, (resized(self.aux_classifier(before), x),)) if self.training else scores


def fcn(body: Network, classes: int) -> DilatedSegmenter:
    return DilatedSegmenter(body, FCNHead(body.channels[-1], classes), classes)
