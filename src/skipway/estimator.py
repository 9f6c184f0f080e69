"""A classifier of images as a scikit-learn estimator, for its pipelines, cross-validation and searches.

    from skipway import ImageClassifier
    classifier = ImageClassifier(model="resnet20", epochs=30).fit(X_train, y_train)
    classifier.score(X_test, y_test)

It is trained by `skipway.train` and predicts as `Predictor` does.
"""

import os
import tempfile
from collections.abc import Hashable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from skipway import bundle
from skipway.commands.train import train
from skipway.data.dataset import Dataset, Split
from skipway.deploy.predict.predictor import Predictor
from skipway.errors import DataError, refuse_if
from skipway.hardware import decide
from skipway.training.recipes import Recipe

Images = np.ndarray | Sequence[str | os.PathLike[str]] | Sequence[np.ndarray]
Labels = np.ndarray | Sequence[Hashable]
Items = np.ndarray | list[Path]


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A network that learns one class per image.

    Parameters
    - `model`: the name of a network; None for the recipe's.
    - `recipe`: the name of a recipe or a `Recipe`; None for what suits the images and the machine.
    - `epochs`: passes over the images; None for the recipe's.
    - `seed`: of initial weights, order, augmentation and the images that are held out for validation.
    - `device`: "auto", "cpu", "cuda" or "mps".
    - `folder`: where the run is kept, with its bundle, report and metrics; None for a temporary one. The folder must
      be new or empty, so that fits of a search or of cross-validation need None.

    Images `X` are an array (N, H, W, C), uint8 or floating point from 0 to 1, which is rounded to uint8, or paths of N
    image files. Labels `y` are N values of any hashable kind.

    Attributes after `fit`
    - `classes_`: the classes, sorted where they can be, otherwise in order of appearance: the order of the columns of
      `predict_proba`.
    - `bundle_`: the files of the trained network by name; written to a folder they are what `skipway.load` opens.
    """

    classes_: np.ndarray
    bundle_: dict[str, bytes]

    def __init__(
        self,
        model: str | None = None,
        recipe: str | Recipe | None = None,
        epochs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.model, self.recipe, self.epochs = model, recipe, epochs
        self.seed, self.device, self.folder = seed, device, folder

    def fit(self, X: Images, y: Labels) -> "ImageClassifier":  # noqa: N803  # scikit-learn's names
        """Train a new network. Raises SkipwayError for images, labels or parameters that cannot be used."""
        items = items_of(X)
        classes, indices = encoded(y)
        if len(items) != len(indices):
            raise DataError(f"{len(items)} images and {len(indices)} labels: give one label for each image")
        known = class_names(classes)
        refuse_if(len(known) < 2, f"all labels are '{known[0]}'", "a classifier needs at least two classes")
        names = [os.fspath(item) if isinstance(item, Path) else f"X[{i}]" for i, item in enumerate(items)]
        data = Dataset("images", known, Split(items, indices, names))
        chosen = {"model": self.model, "epochs": self.epochs, "seed": self.seed}
        changes = {name: value for name, value in chosen.items() if value is not None}
        with ExitStack() as stack:
            folder = self.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skipway-")), "run")
            run = train(data, self.recipe, folder, decide(self.device), changes=changes)
            self.bundle_ = {name: (run.path / name).read_bytes() for name in (*bundle.FILES, bundle.SUMS)}
        self.classes_ = classes
        self._predictor: Predictor | None = None
        return self

    def predict_proba(self, X: Images) -> np.ndarray:  # noqa: N803
        """The calibrated probability of every class, float32 (N, classes) in the order of `classes_`.

        Raises NotFittedError before `fit`, DataError for an image that cannot be read.
        """
        return self.predictor().predict_proba(list(items_of(X)))

    def predict(self, X: Images) -> np.ndarray:  # noqa: N803
        """The likeliest class of every image, (N,). Raises as `predict_proba`."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def score(self, X: Images, y: Labels, sample_weight: np.ndarray | None = None) -> float:  # noqa: N803
        """The share of images whose class is `y`, weighted by `sample_weight` (N,): of labels of any kind."""
        right = [bool(found == wanted) for found, wanted in zip(self.predict(X), y, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def predictor(self) -> Predictor:
        """The trained network, loaded when it is first used. Raises NotFittedError before `fit`."""
        check_is_fitted(self, "bundle_")
        if self._predictor is None:
            with tempfile.TemporaryDirectory(prefix="skipway-") as folder:
                for name, content in self.bundle_.items():
                    Path(folder, name).write_bytes(content)
                self._predictor = Predictor(folder, decide(self.device))
        return self._predictor

    def __getstate__(self) -> dict[str, Any]:
        """A pickle holds the files of the network, and no open device."""
        state = super().__getstate__()
        return {**state, "_predictor": None} if "_predictor" in state else state

    def __sklearn_tags__(self) -> Any:  # a class of scikit-learn 1.6 and later
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        tags.classifier_tags.poor_score = True  # of the few images of scikit-learn's tests
        return tags


def items_of(images: Images) -> Items:
    """uint8 (N, H, W, C) or paths. Raises DataError for anything else."""
    try:
        values = np.asarray(images)
    except ValueError:
        raise DataError("images of several sizes: give arrays of one size, or a list of paths") from None
    if values.ndim == 1 and len(values) and all(isinstance(one, str | os.PathLike) for one in values):
        return [Path(one) for one in values]
    if values.ndim != 4 or not len(values):
        raise DataError(
            f"images of shape {values.shape} and type {values.dtype}: give an array (images, height, width, channels), "
            "or a list of paths"
        )
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"images of type {values.dtype}: give uint8, or floating point from 0 to 1")
    if not (values.min() >= 0 and values.max() <= 1):  # also for values that are no number
        raise DataError("floating-point images with values outside 0 to 1: divide them by their largest possible value")
    return np.rint(values * 255).astype(np.uint8)


def encoded(labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """The classes (K,), and the index of each label among them, int64 (N,). Raises DataError for labels that are not a
    sequence of hashable values, or of which some are missing."""
    if isinstance(labels, np.ndarray) and labels.ndim != 1:
        raise DataError(f"labels of shape {labels.shape}: give one label for each image, of shape (images,)")
    values = list(labels)
    try:
        kinds = list(dict.fromkeys(values))
    except TypeError:
        raise DataError("labels that are not hashable, such as lists: give one name or number for each image") from None
    if missing := [i for i, value in enumerate(values) if value is None or value != value]:
        raise DataError(f"label {missing[0]} is missing: give a label for each image, or leave the image out")
    with suppress(TypeError):  # of several types
        kinds.sort()
    place = {kind: i for i, kind in enumerate(kinds)}
    return as_array(kinds), np.array([place[value] for value in values], dtype=np.int64)


def as_array(kinds: Sequence[Hashable]) -> np.ndarray:
    """The classes as text or numbers where they are, otherwise as objects, (K,)."""
    if len({type(kind) for kind in kinds}) == 1 and np.isscalar(kinds[0]):
        return np.array(kinds)
    found = np.empty(len(kinds), dtype=object)
    found[:] = kinds
    return found


def class_names(classes: np.ndarray) -> tuple[str, ...]:
    """The classes as text for the bundle: `repr` where two would have the same, as 1 and "1"."""
    names = tuple(str(one) for one in classes)
    return names if len(set(names)) == len(names) else tuple(repr(one) for one in classes)
