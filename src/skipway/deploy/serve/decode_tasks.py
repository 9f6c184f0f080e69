"""What decoding processes do with an image, picklable, and with no more imports than that needs."""

from dataclasses import dataclass

from skipway.data.decode import Colour
from skipway.data.preprocess import Preprocessing
from skipway.deploy.serve.decode_process import Pixels
from skipway.deploy.serve.heatmap import photograph
from skipway.deploy.serve.image_limits import check_image
from skipway.deploy.serve.limits import Limits


@dataclass(frozen=True)
class Opening:
    """An image as the network's input, once it was found to be within the limits."""

    name: str
    preprocessing: Preprocessing
    limits: Limits

    def __call__(self, content: bytes) -> Pixels:
        check_image(content, self.name, self.limits)
        fitted = self.preprocessing.opened(content, self.name)
        return Pixels(fitted.image.numpy(), fitted.size)


@dataclass(frozen=True)
class Showing:
    """An image to look at, as `photograph` gives it."""

    name: str
    background: Colour

    def __call__(self, content: bytes) -> Pixels:
        photo = photograph(content, self.name, self.background)
        return Pixels(photo, (photo.shape[0], photo.shape[1]))
