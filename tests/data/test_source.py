"""What a data set promises: disjoint, stratified, repeatable splits, and classes matched by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split, match_classes, require_learnable, with_validation
from skipway.data.lazy_images import LazyImages
from skipway.errors import DataError, UnknownNameError


def numbered(labels: list[int], classes: tuple[str, ...] = ("a", "b", "c"), start: int = 0) -> Split:
    """A split whose every pixel tells which image it is."""
    places = np.arange(start, start + len(labels))
    pixels = np.broadcast_to(places[:, None, None, None], (len(labels), 2, 2, 1)).astype(np.uint8)
    return Split(pixels, np.array(labels), [f"image {i}" for i in places])


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


def test_digits_are_scikit_learns_each_in_one_split_only(digits: Dataset) -> None:
    images, labels = load_digits(return_X_y=True)
    assert len(digits.train) == 1437
    assert len(digits.test) == 360
    places = [int(name.removeprefix("digits[").removesuffix("]")) for name in (*digits.train.names, *digits.test.names)]
    assert sorted(places) == list(range(1797))
    pixels = np.concatenate([digits.train.items, digits.test.items]).reshape(-1, 64)
    np.testing.assert_allclose(pixels * (16 / 255), images[places], atol=0.5 * 16 / 255)
    np.testing.assert_array_equal(np.concatenate([digits.train.labels, digits.test.labels]), labels[places])
    assert pixels.max() == 255


def test_digits_test_holds_a_fifth_of_every_class(digits: Dataset) -> None:
    train, test = digits.train.counts(10), digits.test.counts(10)
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.01)


def test_digits_open_the_same_every_time(digits: Dataset) -> None:
    again = open_dataset("digits")
    assert list(again.test.names) == list(digits.test.names)
    assert np.array_equal(again.train.items, digits.train.items)
    assert again.fingerprint == digits.fingerprint


def test_validation_is_cut_from_train_disjoint_and_by_class(digits: Dataset) -> None:
    cut = with_validation(digits, 0.1, seed=0)
    assert set(cut.train.names).isdisjoint(cut.val.names)
    assert sorted((*cut.train.names, *cut.val.names)) == sorted(digits.train.names)
    np.testing.assert_allclose(cut.val.counts(10), 0.1 * digits.train.counts(10), atol=0.5)
    assert cut.test is digits.test, "what trains must not touch test"


def test_images_keep_their_labels_through_the_cut() -> None:
    labels = list(np.random.default_rng(0).integers(0, 3, 50))
    cut = with_validation(Dataset("s", ("a", "b", "c"), numbered(labels)), 0.3, seed=5)
    for split in (cut.train, cut.val):
        for pixels, label, name in zip(split.items, split.labels, split.names, strict=True):
            assert name == f"image {pixels.max()}"
            assert label == labels[pixels.max()]


def test_the_cut_reads_no_image_that_is_stored_on_disk() -> None:
    def refuse(place: int) -> bytes:
        raise AssertionError(f"image {place} was read")

    split = replace(numbered([0, 1] * 20), items=LazyImages(refuse, np.arange(40)))
    cut = with_validation(Dataset("s", ("a", "b"), split), 0.2, seed=0)
    assert isinstance(cut.val.items, LazyImages)
    assert [f"image {place}" for place in cut.val.items.places] == list(cut.val.names)


def test_the_cut_follows_the_seed() -> None:
    dataset = Dataset("s", ("a", "b"), numbered([0, 1] * 40))
    names = [list(with_validation(dataset, 0.2, seed).val.names) for seed in (1, 1, 2)]
    assert names[0] == names[1]
    assert names[0] != names[2]


def test_a_class_of_one_image_keeps_it_and_small_classes_lend_one() -> None:
    cut = with_validation(Dataset("s", ("one", "two", "many", "none"), numbered([0, 1, 1] + [2] * 20)), 0.1, seed=0)
    assert cut.train.counts(4).tolist() == [1, 1, 18, 0]
    assert cut.val.counts(4).tolist() == [0, 1, 2, 0]


def test_validation_of_ones_own_is_kept_and_a_fraction_of_nothing_cuts_nothing() -> None:
    dataset = Dataset("s", ("a", "b", "c"), numbered([0, 1, 2]), val=numbered([0], start=9))
    assert with_validation(dataset, 0.5, 0) is dataset
    bare = replace(dataset, val=None)
    assert with_validation(bare, 0, 0) is bare
    assert with_validation(bare, 0.5, 0).val is None, "classes of one cannot lend"


def test_a_split_that_is_not_there_is_said_with_those_that_are(digits: Dataset) -> None:
    with pytest.raises(DataError, match="digits has no split 'val': it has train, test"):
        digits.split("val")
    assert digits.split("test") is digits.test


def test_honest_figures_come_from_test_then_val_then_train(digits: Dataset) -> None:
    assert digits.eval_split() == "test"
    assert replace(digits, test=None).eval_split() == "train"
    assert with_validation(replace(digits, test=None), 0.1, 0).eval_split() == "val"


def test_one_class_only_is_refused_by_its_name() -> None:
    with pytest.raises(DataError, match=r"cats has only one class \('tabby'\).*at least two"):
        require_learnable(Dataset("cats", ("tabby", "siamese"), numbered([0, 0])))
    with pytest.raises(DataError, match="cats has no training images"):
        require_learnable(Dataset("cats", ("tabby", "siamese"), numbered([])))
    fine = Dataset("cats", ("tabby", "siamese"), numbered([0, 1]))
    assert require_learnable(fine) is fine


def test_classes_are_matched_by_name_never_by_place() -> None:
    dataset = Dataset("s", ("cat", "dog"), numbered([0, 1, 1]), val=numbered([1]), test=numbered([0, 1]))
    matched = match_classes(dataset, ("bird", "dog", "cat"))
    assert matched.classes == ("bird", "dog", "cat")
    assert [s.labels.tolist() for s in (matched.train, matched.val, matched.test)] == [[2, 1, 1], [1], [2, 1]]


def test_classes_that_the_network_lacks_are_named() -> None:
    dataset = Dataset("zoo", ("cat", "newt"), numbered([0, 1]))
    with pytest.raises(DataError, match=r"zoo has classes that the network does not have: newt; it has cat, dog"):
        match_classes(dataset, ("cat", "dog"))


def test_the_fingerprint_notices_pixels_labels_names_and_classes(tmp_path: Path) -> None:
    dataset = Dataset("s", ("a", "b", "c"), numbered([0, 1, 2]), test=numbered([0]))
    other = numbered([0, 1, 2])
    other.items[0, 0, 0, 0] = 99
    changes = [
        replace(dataset, train=other),
        replace(dataset, train=numbered([0, 1, 1])),
        replace(dataset, classes=("a", "b", "d")),
        replace(dataset, test=None),
        replace(dataset, val=dataset.test, test=None),
        replace(dataset, train=replace(dataset.train, items=[b"x", b"y", b"z"])),
    ]
    found = {changed.fingerprint for changed in (dataset, *changes)}
    assert len(found) == len(changes) + 1
    assert replace(dataset, name="elsewhere").fingerprint == dataset.fingerprint, "a copy elsewhere is the same data"


def test_the_fingerprint_of_a_folder_notices_a_renamed_and_a_replaced_file(tmp_path: Path) -> None:
    def seen(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return Dataset("s", ("a",), Split([tmp_path / name], np.array([0]), [name])).fingerprint

    assert len({seen("a.jpg", b"12"), seen("b.jpg", b"12"), seen("a.jpg", b"123")}) == 3


def test_a_name_that_is_no_data_set_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'digit': did you mean 'digits'"):
        open_dataset("digit")


def test_paths_that_are_no_data_set_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        open_dataset(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"notes\.txt is not a supported file type"):
        open_dataset(str(tmp_path / "notes.txt"))


def test_a_folder_named_like_a_data_set_opens_with_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y"):
        Path("digits", name).mkdir(parents=True)
        Path("digits", name, "i.png").write_bytes(b"never opened")
    assert open_dataset("./digits").classes == ("x", "y")
    assert len(open_dataset("digits").classes) == 10


def tagged(labels: list[list[int]], start: int = 0) -> Split:
    """As `numbered`, with any number of the three classes for each image."""
    return replace(numbered([0] * len(labels), start=start), targets=np.array(labels, dtype=np.uint8))


def test_labels_in_columns_make_a_source_of_many_labels() -> None:
    several = Dataset("s", ("a", "b", "c"), tagged([[1, 1, 0], [0, 1, 0], [0, 0, 0]]))
    assert several.task == "tag"
    assert Dataset("s", ("a", "b", "c"), numbered([0, 1, 2])).task == "classify"
    assert several.train.counts(3).tolist() == [1, 2, 0]
    assert several.train.take(np.array([1, 0])).labels.tolist() == [[0, 1, 0], [1, 1, 0]]


def test_validation_of_many_labels_is_cut_disjoint_with_labels_that_belong() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (60, 3)).tolist()
    dataset = Dataset("s", ("a", "b", "c"), tagged(labels))
    cut = with_validation(dataset, 0.2, seed=3)
    assert sorted((*cut.train.names, *cut.val.names)) == sorted(dataset.train.names)
    assert 10 <= len(cut.val) <= 14
    for split in (cut.train, cut.val):
        for pixels, label in zip(split.items, split.labels, strict=True):
            assert label.tolist() == labels[pixels.max()]


def test_many_labels_of_which_none_tells_images_apart_are_refused() -> None:
    for labels in ([[1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]):
        with pytest.raises(DataError, match="no class that some training images have and others lack"):
            require_learnable(Dataset("s", ("a", "b", "c"), tagged(labels)))
    fine = Dataset("s", ("a", "b", "c"), tagged([[1, 0, 0], [1, 1, 0]]))
    assert require_learnable(fine) is fine


def test_many_labels_are_matched_by_name_never_by_place() -> None:
    dataset = Dataset("s", ("cat", "dog", "newt"), tagged([[1, 0, 0], [0, 1, 1]]), val=tagged([[0, 0, 1]]))
    matched = match_classes(dataset, ("newt", "bird", "dog", "cat"))
    assert matched.train.labels.tolist() == [[0, 0, 0, 1], [1, 0, 1, 0]]
    assert matched.val.labels.tolist() == [[1, 0, 0, 0]]
    assert matched.train.labels.dtype == np.uint8
    assert matched.test is None
    empty = replace(dataset, test=tagged([[0, 0, 0]]).take(np.array([], dtype=int)))
    assert match_classes(empty, ("newt", "bird", "dog", "cat")).test.labels.shape == (0, 4)


def test_the_fingerprint_tells_columns_from_one_class_an_image() -> None:
    one = Dataset("s", ("a", "b", "c"), replace(numbered([0, 1, 1]), targets=np.array([0, 1, 1])))
    column = Dataset("s", ("a", "b", "c"), replace(numbered([0, 1, 1]), targets=np.array([[0], [1], [1]])))
    other = Dataset("s", ("a", "b", "c"), replace(numbered([0, 1, 1]), targets=np.array([[0], [1], [0]])))
    assert len({dataset.fingerprint for dataset in (one, column, other)}) == 3
