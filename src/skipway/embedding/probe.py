"""A linear classifier and nearest neighbours on frozen embeddings: baselines that take seconds.

Alain, Bengio: Understanding intermediate layers using linear classifier probes. 2016, arXiv:1610.01644.
Caron et al.: Emerging Properties in Self-Supervised Vision Transformers. ICCV 2021, arXiv:2104.14294 (20 neighbours).
"""

import warnings
from typing import Any

import numpy as np

from skipway.embedding.neighbours import unit
from skipway.errors import DataError

NEIGHBOURS = 20
FOLDS = 5
STEPS = 200  # of L-BFGS at most: by then the predictions stand still


def linear_probe() -> Any:
    """scikit-learn's multinomial logistic regression on embeddings scaled to unit variance; not fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=STEPS, tol=1e-3))


def nearest_neighbours(labels: np.ndarray) -> Any:
    """scikit-learn's classifier by the vote of the nearest in angle, weighted by distance; not fitted.

    Of NEIGHBOURS or, where classes have fewer images, as many as they have on average.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    count = max(1, min(NEIGHBOURS, len(labels) // len(np.unique(labels))))
    voters = KNeighborsClassifier(count, weights="distance", algorithm="brute")
    return make_pipeline(FunctionTransformer(unit), voters)


def fitted(classifier: Any, vectors: np.ndarray, labels: np.ndarray) -> Any:
    """`classifier`, fitted to embeddings float32 (n, D) and labels (n,). Raises DataError for a single class."""
    from sklearn.exceptions import ConvergenceWarning

    if len(np.unique(labels)) < 2:
        raise DataError(
            "the images to fit a classifier to are of one class alone: give readable images of two at least"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # STEPS are enough for the predictions
        return classifier.fit(vectors, labels)


def probabilities_of(classifier: Any, vectors: np.ndarray, classes: int) -> np.ndarray:
    """float64 (n, classes) of a fitted classifier, 0 for classes that it has not seen."""
    found = np.zeros((len(vectors), classes))
    found[:, classifier.classes_] = classifier.predict_proba(vectors)
    return found


def cross_validated(vectors: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """Probabilities float64 (n, classes) by linear probes that were each fitted without the images they are applied to.

    FOLDS parts, stratified by label; fewer where a class has fewer images. Raises DataError where a class has a single
    image, or there is one class alone.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        raise DataError("label errors need two classes and two images of each: leave out classes with a single image")
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    found = np.zeros((len(vectors), classes))
    for fit, held_out in folds.split(vectors, labels):
        classifier = fitted(linear_probe(), vectors[fit], labels[fit])
        found[held_out] = probabilities_of(classifier, vectors[held_out], classes)
    return found
