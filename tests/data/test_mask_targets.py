"""Label maps are taken, renumbered, hashed and held out, and read only when they are needed."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split, match_classes, with_validation
from skipway.data.mask_source import MaskError
from skipway.data.mask_targets import IGNORE, MaskTargets, from_label_maps
from skipway.errors import DataError
from tests.data.masks import CLASSES, maps_of, scenes, write_folders, write_parquet

MAPS = [one.labels for one in scenes(10)]


def targets() -> MaskTargets:
    maps = [one.copy() for one in MAPS]
    maps[0][:3] = IGNORE
    return from_label_maps(maps, len(CLASSES))


def test_pixels_are_counted_as_by_numpy() -> None:
    found = targets()
    for place in range(len(found)):
        plain = np.bincount(found.label_map(place).ravel(), minlength=256)
        assert found.pixels[place].tolist() == [*plain[:4].tolist(), plain[IGNORE]]
        assert found.classes_of(place) == tuple(np.flatnonzero(plain[:4]).tolist())
    present = np.array([[(one == label).any() for label in range(4)] for one in map(found.label_map, range(10))])
    assert found.counts(4).tolist() == present.sum(0).tolist()
    assert all(found.members(label).tolist() == np.flatnonzero(present[:, label]).tolist() for label in range(4))


def test_a_part_has_the_maps_of_its_images() -> None:
    found = targets()
    part = found.take(np.array([7, 2, 2]))
    assert len(part) == 3
    assert all((part.label_map(i) == found.label_map(j)).all() for i, j in enumerate((7, 2, 2)))
    assert (part.pixels == found.pixels[[7, 2, 2]]).all()
    assert (part.sizes == found.sizes[[7, 2, 2]]).all()
    assert len(found.take(np.array([], int))) == 0


def test_a_batch_is_filled_up_with_ignore() -> None:
    part = targets().take(np.arange(4))
    batch = part.tensor()
    assert batch.labels.dtype == torch.uint8
    assert batch.labels.shape[1:] == tuple(np.max([one.shape for one in MAPS[:4]], axis=0))
    for place, (labels, (height, width)) in enumerate(zip(batch.labels, batch.sizes.tolist(), strict=True)):
        one = part.item(place)
        assert torch.equal(labels[:height, :width], one.labels)
        assert one.sizes.tolist() == [height, width]
        assert (labels[height:] == IGNORE).all()
        assert (labels[:, width:] == IGNORE).all()


def test_renumbered_classes_are_those_of_their_names() -> None:
    found = targets()
    to = np.array([4, 0, 2, 1])
    twice = found.relabel(to, 5).relabel(np.array([1, 0, 2, 3, 4]), 6)
    renumbered = found.relabel(to, 5)
    for place in range(len(found)):
        before = found.label_map(place)
        after = renumbered.label_map(place)
        assert (after == np.where(before == IGNORE, IGNORE, to[before.clip(max=3)])).all()
        plain = np.bincount(after.ravel(), minlength=256)
        assert renumbered.pixels[place].tolist() == [*plain[:5].tolist(), plain[IGNORE]]
        swapped = np.where(after == 0, 1, np.where(after == 1, 0, after))
        assert (twice.label_map(place) == swapped).all()
    assert twice.pixels.shape == (10, 7)


def test_a_data_set_is_matched_to_a_network_by_the_names_of_classes() -> None:
    split = Split(np.zeros((10, 8, 8, 3), np.uint8), targets(), [str(i) for i in range(10)])
    names = ("car", "background", "sky", "tree", "road")
    matched = match_classes(Dataset("s", CLASSES, split), names)
    assert isinstance(matched.train.targets, MaskTargets)
    before, after = targets().label_map(1), matched.train.targets.label_map(1)
    assert all((names[new] == CLASSES[old]) for old, new in zip(before.ravel(), after.ravel(), strict=True))


def test_the_digest_differs_whenever_the_labels_do() -> None:
    found = targets()
    other = [one.copy() for one in MAPS]
    other[0][:3] = IGNORE
    assert from_label_maps(other, 4).digest() == found.digest()
    other[5][0, 0] ^= 1
    digests = [
        found.digest(),
        from_label_maps(other, 4).digest(),
        found.relabel(np.array([1, 0, 2, 3]), 4).digest(),
        found.take(np.arange(9)).digest(),
        found.take(np.array([1, 0, *range(2, 10)])).digest(),
        from_label_maps([one.reshape(1, -1) for one in MAPS], 4).digest(),
    ]
    assert len(set(digests)) == len(digests)
    assert found.relabel(np.arange(4), 4).digest() == found.digest()


def test_the_fingerprint_changes_with_a_pixel_of_a_mask(tmp_path: Path) -> None:
    root = write_folders(scenes(), tmp_path / "set")
    before = open_dataset(str(root)).fingerprint
    assert open_dataset(str(root)).fingerprint == before
    file = root / "masks" / "im03.png"
    values = np.asarray(Image.open(file)).copy()
    values[0, 0] = (values[0, 0] + 1) % 4
    Image.fromarray(values).save(file)
    assert open_dataset(str(root)).fingerprint != before


def test_a_hold_out_keeps_every_class_on_both_sides() -> None:
    many = from_label_maps([one.labels for one in scenes(60, seed=3)], 4)
    whole = Dataset("s", CLASSES, Split(np.zeros((60, 8, 8, 3), np.uint8), many, [str(i) for i in range(60)]))
    parted = with_validation(whole, 0.2, seed=0)
    assert len(parted.train) + len(parted.split("val")) == 60
    assert not set(parted.train.names) & set(parted.split("val").names)
    counts = parted.split("val").counts(4)
    assert np.abs(counts - 0.2 * many.counts(4)).max() <= 2
    again = with_validation(whole, 0.2, seed=0)
    assert again.train.names == parted.train.names


@pytest.mark.parametrize(("values", "said"), [((1,), "only the class 'road'"), ((IGNORE,), "no class")])
def test_one_class_is_nothing_to_learn(values: tuple[int, ...], said: str) -> None:
    found = from_label_maps([np.full((4, 4), value, np.uint8) for value in values], 4)
    with pytest.raises(DataError, match=f"s has {said} in the masks of its training images"):
        found.require_learnable("s", CLASSES)
    targets().require_learnable("s", CLASSES)


def test_labels_that_are_no_class_are_refused() -> None:
    with pytest.raises(MaskError, match=r"no class has its values 4 \(12 pixels\)"):
        from_label_maps([np.full((3, 4), 4, np.uint8)], 4)


def test_a_mask_that_has_changed_since_is_named(tmp_path: Path) -> None:
    root = write_folders(scenes(3), tmp_path / "set")
    found = open_dataset(str(root)).train.targets
    assert isinstance(found, MaskTargets)
    file = root / "masks" / "im00.png"
    for make, said in (
        (lambda: Image.fromarray(np.full((5, 5), 2, np.uint8)).save(file), "now has 5 x 5 pixels"),
        (lambda: Image.fromarray(np.full((5, 5), 9, np.uint8)).save(file), "it has values without a class"),
        (lambda: file.write_text("x"), "it is not an image that can be read"),
        (file.unlink, "it does not exist"),
    ):
        make()
        with pytest.raises(DataError, match=said) as caught:
            found.label_map(0)
        assert str(file) in str(caught.value)


def test_masks_stay_where_they_are_and_go_to_other_processes(tmp_path: Path) -> None:
    root = write_folders(scenes(12), tmp_path / "set")
    found = open_dataset(str(root)).train.targets
    packed = pickle.dumps(found)
    assert len(packed) < 12 * 400
    assert (pickle.loads(packed).label_map(5) == scenes(12)[5].labels).all()
    stored = open_dataset(str(write_parquet(scenes(12), tmp_path / "parquet")))
    again = replace(stored, train=pickle.loads(pickle.dumps(stored.train)))
    assert all((maps_of(again)[one.stem] == one.labels).all() for one in scenes(12))
