"""Wrong labels by confident learning.

Northcutt, Jiang, Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 2021, arXiv:1911.00068.

The probabilities are of images that the classifier was not fitted on (cross-validation). An image counts as of class j
with confidence where its probability of j is at least the mean of this probability over the images labelled j (eq. 2);
images that so count as of another class than their label (the off-diagonal entries of the confident joint, sec. 3.1)
are suspicious, unless their label is their likeliest class all the same, as in the authors' cleanlab. They are ordered
by their normalised margin, the probability of the label minus the largest other one (sec. 3.2).
"""

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-6  # of probabilities: means of equal values may be that much above them


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """places: of the suspicious images, the most suspicious first; suggested: the class that each counts as; margins:
    (n,) of all images, from -1 to 1, low where the label is unlikely; joint: (classes, classes), images by label and by
    the class they count as with confidence."""

    places: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray
    joint: np.ndarray


def find_label_errors(probabilities: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Confident learning on out-of-sample probabilities (n, classes) and labels, int64 (n,).

    Classes without images have no threshold, and no image counts as of them.
    """
    count, classes = probabilities.shape
    rows, images = np.arange(count), np.bincount(labels, minlength=classes)
    own = probabilities[rows, labels].astype(np.float64)
    with np.errstate(invalid="ignore"):
        thresholds = np.where(images > 0, np.bincount(labels, own, classes) / images, np.inf)
    confident = np.where(probabilities >= thresholds - ROUNDING, probabilities, -1.0)
    counts_as = np.where(confident.max(1) >= 0, confident.argmax(1), -1)
    joint = np.zeros((classes, classes), dtype=np.int64)
    known = counts_as >= 0
    np.add.at(joint, (labels[known], counts_as[known]), 1)
    others = probabilities.astype(np.float64)
    others[rows, labels] = -np.inf
    margins = own - others.max(1)
    places = np.flatnonzero(known & (counts_as != labels) & (margins < -ROUNDING))
    places = places[np.argsort(margins[places], kind="stable")]
    return LabelErrors(places, counts_as[places], margins, joint)
