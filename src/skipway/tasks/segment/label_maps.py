"""From a network's scores to the classes of an image's pixels."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from skipway.data.mask_targets import LabelMaps
from skipway.data.preprocess import Preprocessing
from skipway.tasks.base import Outputs
from skipway.tasks.segment.confusion import boundary_counts, calibration_bins, confusion_matrix

THUMBNAIL = 320  # pixels of the longer side at most
BAND = 1 << 23  # scores that are interpolated at once


def scores_by_rows(
    logits: Tensor, preprocessing: Preprocessing, size: tuple[int, int]
) -> Iterator[tuple[slice, Tensor]]:
    """Scores (C, *canvas) of the network's input for the pixels of the image of `size` (height, width), without the
    margins: some rows at a time, (C, rows, W), since those of a large photograph would take gigabytes."""
    place = preprocessing.placement(*size)
    inside = logits[:, place.top : place.top + place.height, place.left : place.left + place.width].contiguous()
    rows = max(BAND // (len(logits) * size[1]), 1)
    for start in range(0, size[0], rows):
        band = slice(start, min(start + rows, size[0]))
        yield band, interpolated_rows(inside, size, band)


def label_map(logits: Tensor, preprocessing: Preprocessing, size: tuple[int, int]) -> Tensor:
    """uint8 (H, W): the likeliest class of each pixel of the image, from scores (C, *canvas)."""
    labels = torch.empty(size, dtype=torch.uint8)
    for band, scores in scores_by_rows(logits, preprocessing, size):
        labels[band] = scores.argmax(0).to(torch.uint8)
    return labels


def confidences(logits: Tensor, preprocessing: Preprocessing, size: tuple[int, int]) -> Tensor:
    """float32 (H, W): the probability of that class."""
    found = torch.empty(size)
    for band, scores in scores_by_rows(logits, preprocessing, size):
        found[band] = torch.exp(scores.amax(0) - scores.logsumexp(0))
    return found


def interpolated_rows(scores: Tensor, size: tuple[int, int], rows: slice) -> Tensor:
    """The `rows` of scores (C, h, w) interpolated bilinearly to (C, *size), between pixel centres, as torch does."""
    height = scores.shape[1]
    if scores.shape[1:] == size:
        return scores[:, rows]
    wanted = (torch.arange(rows.start, rows.stop, dtype=torch.float32) + 0.5) * (height / size[0]) - 0.5
    wanted = wanted.clamp(min=0)
    above = wanted.long().clamp(max=height - 1)
    below = (above + 1).clamp(max=height - 1)
    first = int(above[0])
    needed = scores[None, :, first : int(below[-1]) + 1]
    wide = functional.interpolate(needed, (needed.shape[2], size[1]), mode="bilinear", align_corners=False)[0]
    share = (wanted - above)[:, None]
    return wide[:, above - first] * (1 - share) + wide[:, below - first] * share


def thumbnails(logits: Tensor) -> Tensor:
    """uint8 (N, h, w), the likeliest classes in the network's input, at most THUMBNAIL pixels a side."""
    height, width = logits.shape[2:]
    scale = min(THUMBNAIL / max(height, width), 1.0)
    rows = ((torch.arange(max(round(height * scale), 1)) + 0.5) / scale).long().clamp(max=height - 1)
    columns = ((torch.arange(max(round(width * scale), 1)) + 0.5) / scale).long().clamp(max=width - 1)
    return logits[:, :, rows][..., columns].argmax(1).to(torch.uint8)


def statistics(outputs: Outputs, targets: LabelMaps, preprocessing: Preprocessing) -> Outputs:
    """The fields of `ImageStatistics` for a batch of scores (N, C, *canvas), as tensors."""
    logits = outputs[0]
    classes, rows = logits.shape[1], []
    for scores, labels, size in zip(logits, targets.labels, targets.sizes.tolist(), strict=True):
        height, width = size
        truth = labels[:height, :width]
        found = label_map(scores, preprocessing, (height, width))
        confidence = confidences(scores, preprocessing, (height, width))
        rows.append(
            (
                confusion_matrix(truth, found, classes).int(),
                boundary_counts(truth, found, classes).int(),
                calibration_bins(truth, found, confidence),
            )
        )
    return (*(torch.stack(parts) for parts in zip(*rows, strict=True)), thumbnails(logits))
