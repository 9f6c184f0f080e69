"""The scikit-learn estimator: what scikit-learn asks of one, on images."""

import inspect
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import skipway
from skipway import ImageClassifier, SkipwayError
from skipway.estimator import encoded, items_of

# The checks of `check_estimator` that ask nothing of the data. The others fit tables (samples, features), of which it
# gives up itself for an estimator without the tag `two_d_array`; what they ask is asked below of images: the same
# predictions after pickling, for a subset and in another order (check_estimators_pickle, check_methods_*), any labels
# (check_classifiers_classes), errors before `fit` and for wrong shapes (check_estimators_unfitted, *_1d, *_2d,
# check_n_features_in), unchanged parameters (check_dict_unchanged, check_dont_overwrite_attributes).
CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


def stripes(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (number, 8, 8, 1) of noise that is brighter in every second row or column, and which of them."""
    random = np.random.default_rng(0)
    lie = np.arange(number) % 2
    pixels = random.integers(0, 60, (number, 8, 8, 1))
    pixels[lie == 0, ::2] += 180
    pixels[lie == 1, :, ::2] += 180
    return pixels.astype(np.uint8), np.where(lie, "columns", "rows")


def classifier(**parameters: Any) -> ImageClassifier:
    return ImageClassifier(**{"model": "plain20", "recipe": "quick", "epochs": 1, "device": "cpu", **parameters})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> ImageClassifier:
    images, labels = stripes(80)
    recipe = replace(skipway.find_recipe("quick"), batch=8, flip=False, crop="none")
    folder = tmp_path_factory.mktemp("estimator") / "run"
    return classifier(model="resnet20", recipe=recipe, epochs=3, folder=folder).fit(images, labels)


@pytest.mark.parametrize("check", CHECKS)
def test_scikit_learns_check_of_an_estimator_passes(check: str) -> None:
    function = getattr(estimator_checks, check, None)
    if function is None:
        pytest.skip(f"this scikit-learn has no {check}")
    function("ImageClassifier", ImageClassifier())


def test_every_parameter_is_described() -> None:
    for name in ImageClassifier().get_params():
        assert f"- `{name}`: " in (inspect.getdoc(ImageClassifier) or "")


def test_images_are_learned_and_the_run_is_kept(fitted: ImageClassifier) -> None:
    images, labels = stripes(40)
    assert is_classifier(fitted)
    assert fitted.classes_.tolist() == ["columns", "rows"]
    assert fitted.score(images, labels) > 0.9
    assert fitted.folder is not None
    assert skipway.load(fitted.folder).card.recipe["epochs"] == 3


def test_predictions_are_those_of_the_run(fitted: ImageClassifier) -> None:
    images, _ = stripes(10)
    assert fitted.folder is not None
    predictor = skipway.load(fitted.folder).predictor(skipway.decide("cpu"))
    theirs = predictor.predict_proba(list(images))
    assert predictor.classes == tuple(fitted.classes_)
    assert np.array_equal(fitted.predict_proba(images), theirs)
    assert [one.label for one in predictor.predict(list(images))] == fitted.predict(images).tolist()
    assert np.allclose(fitted.predict_proba(images).sum(1), 1)


def test_a_pickle_predicts_the_same_without_the_folder(fitted: ImageClassifier) -> None:
    images, _ = stripes(10)
    fitted.predict(images)  # loads the network, which is not in the pickle
    before = fitted.get_params()
    content = pickle.dumps(fitted)
    other = pickle.loads(content)
    assert len(content) < 1.1 * sum(len(part) for part in fitted.bundle_.values()) + 10_000
    other.folder = "/nowhere"
    assert np.array_equal(other.predict_proba(images), fitted.predict_proba(images))
    assert fitted.get_params() == before


def test_predictions_depend_on_no_other_image(fitted: ImageClassifier) -> None:
    images, _ = stripes(10)
    whole = fitted.predict_proba(images)
    order = np.random.default_rng(0).permutation(10)
    assert np.array_equal(fitted.predict_proba(images[order]), whole[order])
    assert np.array_equal(fitted.predict_proba(images[3:4]), whole[3:4])


def test_floating_point_from_0_to_1_and_files_are_the_same_images(fitted: ImageClassifier, tmp_path: Path) -> None:
    images, _ = stripes(6)
    files = [str(tmp_path / f"{i}.png") for i in range(6)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[:, :, 0]).save(file)
    wanted = fitted.predict_proba(images)
    for others in (images / 255, (images / 255).astype(np.float32), files, np.array(files), [Path(f) for f in files]):
        assert np.array_equal(fitted.predict_proba(others), wanted)


def test_the_same_seed_gives_the_same_network_and_a_clone_is_not_fitted() -> None:
    images, labels = stripes(24)
    one = classifier().fit(images, labels)
    again = clone(one)
    assert again.get_params() == one.get_params()
    with pytest.raises(NotFittedError):
        again.predict(images)
    assert again.fit(images, labels) is again
    assert again.bundle_["weights.safetensors"] == one.bundle_["weights.safetensors"]


def test_cross_validation_gives_a_score_for_each_part() -> None:
    images, labels = stripes(24)
    scores = cross_val_score(classifier(), images, labels, cv=2)
    assert scores.shape == (2,) and ((scores >= 0) & (scores <= 1)).all()


def test_a_search_over_a_pipeline_refits_its_best_parameters() -> None:
    images, labels = stripes(16)
    parts = [(np.arange(12), np.arange(12, 16))]
    pipeline = make_pipeline(FunctionTransformer(np.flip, kw_args={"axis": 1}), classifier())
    search = GridSearchCV(pipeline, {"imageclassifier__seed": [0, 1]}, cv=parts, error_score="raise")
    search.fit(images, labels)
    assert search.best_params_["imageclassifier__seed"] in (0, 1)
    assert search.predict(images).shape == (16,)


# ---------------------------------------------------------------------------------------------------------------------
# Labels and images


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        (np.array([7, -1, 7]), [-1, 7], [1, 0, 1]),
        ([True, False, True], [False, True], [1, 0, 1]),
        ([("x", 2), ("x", 1), ("x", 2)], [("x", 1), ("x", 2)], [1, 0, 1]),
        ([1, "1", 1], [1, "1"], [0, 1, 0]),
    ],
)
def test_labels_may_be_of_any_hashable_kind(labels: Any, classes: list, indices: list[int]) -> None:
    found, numbers = encoded(labels)
    assert found.shape == (2,) and found.tolist() == classes
    assert numbers.tolist() == indices


def test_classes_with_the_same_text_are_told_apart() -> None:
    images, _ = stripes(16)
    labels = [(1, "1")[i % 2] for i in range(16)]
    net = classifier().fit(images, labels)
    assert net.classes_.tolist() == [1, "1"]
    assert set(map(type, net.predict(images))) <= {int, str}
    assert 0 <= net.score(images, labels) <= 1


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((3, 8, 8)), r"images of shape \(3, 8, 8\).*give an array"),
        (np.zeros((0, 8, 8, 1)), "give an array"),
        (np.zeros((3, 8, 8, 1), int), "images of type int64"),
        (np.full((3, 8, 8, 1), 1.5), "outside 0 to 1"),
        (np.full((3, 8, 8, 1), np.nan), "outside 0 to 1"),
        ([np.zeros((8, 8, 1)), np.zeros((9, 8, 1))], "several sizes"),
        ("photos", "give an array"),
        ([], "give an array"),
    ],
)
def test_what_is_no_set_of_images_is_refused(images: Any, words: str) -> None:
    with pytest.raises(SkipwayError, match=words):
        items_of(images)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "b"], "3 images and 2 labels"),
        (["a", "a", "a"], "all labels are 'a'"),
        ([["a"], ["b"], ["a"]], "not hashable"),
        (np.zeros((3, 2)), r"labels of shape \(3, 2\)"),
        ([1.0, float("nan"), 2.0], "label 1 is missing"),
        (["a", None, "b"], "label 1 is missing"),
    ],
)
def test_labels_that_fit_no_image_are_refused(labels: Any, words: str) -> None:
    with pytest.raises(SkipwayError, match=words):
        classifier().fit(np.zeros((3, 8, 8, 1), np.uint8), labels)


def test_unknown_names_and_missing_files_are_refused_in_one_line(fitted: ImageClassifier, tmp_path: Path) -> None:
    images, labels = stripes(8)
    for wrong in ({"model": "resnet19"}, {"recipe": "quik"}, {"device": "gpu"}, {"epochs": 0}):
        with pytest.raises(SkipwayError) as caught:
            classifier(**wrong).fit(images, labels)
        assert "\n" not in str(caught.value)
    with pytest.raises(SkipwayError, match=r"none\.png"):
        fitted.predict([tmp_path / "none.png"])
