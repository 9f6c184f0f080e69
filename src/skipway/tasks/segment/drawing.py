"""Label maps drawn: as colours, over their image, where they are wrong, and the legend."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skipway.data.mask_targets import IGNORE
from skipway.reporting.palette import palette

CLEAR = 0.55  # opacity of the classes over an image
IGNORED = (255, 255, 255)  # of pixels without a class
WRONG, UNCOUNTED = (213, 94, 0), (128, 128, 128)  # pixels of another class, and ignored ones
FADED = 0.35  # of the image's own contrast, under the wrong pixels
PAPER, INK, RIM = "#ffffff", "#1c1f23", "#8a9099"  # of the legend
SMALLEST_FONT = 11  # pixels


def coloured(labels: np.ndarray, classes: int) -> Image.Image:
    """A label map uint8 (H, W) in the colours of its classes."""
    colours = np.full((IGNORE + 1, 3), IGNORED, dtype=np.uint8)
    colours[:classes] = palette(classes)
    return Image.fromarray(colours[labels])


def overlaid(image: Image.Image, labels: np.ndarray, classes: int) -> Image.Image:
    """An RGB image with the classes of its pixels in colour over it; labels: uint8 (H, W) of the image's size."""
    return Image.blend(image, coloured(labels, classes), CLEAR)


def differences(image: Image.Image, truth: np.ndarray, predicted: np.ndarray) -> Image.Image:
    """The image in faint grey, with the pixels of a wrong class in WRONG and ignored ones in UNCOUNTED. The label maps
    are uint8 (H, W) of the image's size."""
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    drawn = np.repeat((255 - FADED * (255 - grey)).astype(np.uint8)[..., None], 3, axis=2)
    drawn[truth != predicted] = WRONG
    drawn[truth == IGNORE] = UNCOUNTED
    return Image.fromarray(drawn)


def with_legend(image: Image.Image, shares: Mapping[int, float], classes: Sequence[str]) -> Image.Image:
    """The image with a legend below it, wrapped to its width: the colour, name and share of each class in `shares`."""
    colours = palette(len(classes))
    size = max(SMALLEST_FONT, round(max(image.size) / 45))
    font, gap = ImageFont.load_default(size), size // 2
    texts = [(label, f"{classes[label]} {100 * share:.1f} %") for label, share in shares.items()]
    places, x, y = [], gap, gap
    for label, text in texts:
        wide = round(size + gap + font.getlength(text))
        if x > gap and x + wide > image.width - gap:
            x, y = gap, y + size + gap
        places.append((label, text, x, y))
        x += wide + 2 * gap
    sheet = Image.new("RGB", (image.width, image.height + y + size + 2 * gap), PAPER)
    sheet.paste(image, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for label, text, left, down in places:
        top = image.height + down
        pen.rectangle((left, top, left + size, top + size), fill=tuple(colours[label].tolist()), outline=RIM)
        pen.text((left + size + gap, top + size / 2), text, fill=INK, font=font, anchor="lm")
    return sheet
