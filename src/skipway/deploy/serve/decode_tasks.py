"""What decoding processes do with an image, picklable, and with no more imports than that needs."""

from dataclasses import dataclass

import numpy as np

from skipway.data.fitting import Fitting
from skipway.deploy.serve.decode_process import Pixels
from skipway.deploy.serve.image_limits import check_image
from skipway.deploy.serve.limits import Limits


@dataclass(frozen=True)
class Opening:
    """An image as the network's input, once it was found to be within the limits."""

    name: str
    preprocessing: Fitting
    limits: Limits

    def __call__(self, content: bytes) -> Pixels:
        check_image(content, self.name, self.limits)
        fitted = self.preprocessing.opened(content, self.name)
        return Pixels(np.asarray(fitted.image), fitted.size)
