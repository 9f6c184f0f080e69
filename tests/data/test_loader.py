"""Batches: every image at most once an epoch, and the same ones however the run was cut into pieces."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from skipway.data import open_dataset
from skipway.data.augment import Augmentation
from skipway.data.dataset import Dataset, Split
from skipway.data.loader import (
    BatchSampler,
    InMemoryLoader,
    StreamingLoader,
    decode_all,
    decode_split,
    decoded_side,
    derive_seed,
    in_order,
    natural_size,
)
from skipway.data.preprocess import for_photographs, for_pixels
from skipway.errors import DataError

CPU = torch.device("cpu")
Batch = tuple[Tensor, Tensor]


def equal(ours: Iterable[Batch], theirs: Iterable[Batch]) -> int:
    """How many batches there were, all of them equal bit by bit."""
    count = 0
    for (images, labels), (others, expected) in zip(ours, theirs, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, expected)
        count += 1
    return count


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (12, 4), (7, 7), (5, 8)])
def test_an_epoch_takes_each_image_at_most_once_and_leaves_only_the_last_few(count: int, batch: int) -> None:
    order = BatchSampler(count, batch, seed=0)
    batches = [picked.tolist() for picked in order.batches(0)]
    assert len(batches) == order.steps == count // batch
    assert all(len(picked) == batch for picked in batches)
    taken = [i for picked in batches for i in picked]
    assert len(set(taken)) == len(taken) == count - count % batch
    assert set(taken) <= set(range(count))


def test_over_the_epochs_no_image_is_left_out() -> None:
    order = BatchSampler(10, 4, seed=0)
    assert {int(i) for epoch in range(20) for picked in order.batches(epoch) for i in picked} == set(range(10))


def test_the_order_follows_seed_and_epoch_and_not_what_ran_before() -> None:
    def taken(seed: int, epoch: int, start: int = 0) -> list[int]:
        return torch.cat(list(BatchSampler(50, 5, seed).batches(epoch, start))).tolist()

    assert taken(1, 3) == taken(1, 3)
    assert taken(1, 3)[10:] == taken(1, 3, start=2)
    assert len({tuple(taken(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


def drawn(order: BatchSampler, epochs: int) -> np.ndarray:
    return torch.cat([picked for epoch in range(epochs) for picked in order.batches(epoch)]).numpy()


def test_weighted_draws_come_up_by_their_weights() -> None:
    weights = np.array([0.5, 1, 2, 4, 0, 2.5] * 5)
    taken = drawn(BatchSampler(30, 10, 0, weights), 300)
    found, chance = np.bincount(taken, minlength=30) / len(taken), weights / weights.sum()
    assert (np.abs(found - chance) <= 5 * np.sqrt(chance * (1 - chance) / len(taken))).all()
    assert found[4] == 0


def test_weighted_draws_follow_seed_and_epoch_and_may_begin_anywhere() -> None:
    order = BatchSampler(40, 5, 1, np.arange(40.0))
    whole = torch.cat(list(order.batches(3))).tolist()
    assert torch.cat(list(order.batches(3, start=2))).tolist() == whole[10:]
    assert torch.cat(list(order.batches(4))).tolist() != whole
    assert len(set(whole)) < len(whole), "drawn with replacement"


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 51.0)], ids=["shuffled", "weighted"])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_have_the_batch_that_one_would_have(weights: np.ndarray | None, world: int) -> None:
    alone = BatchSampler(50, 12, 5, weights)
    shares = [BatchSampler(50, 12, 5, weights, rank, world) for rank in range(world)]
    assert {share.steps for share in shares} == {alone.steps}
    for epoch in (0, 1):
        for step, picked in enumerate(alone.batches(epoch)):
            parts = [list(share.batches(epoch))[step] for share in shares]
            assert {len(part) for part in parts} == {12 // world}
            assert torch.equal(torch.stack(parts, 1).flatten(), picked)
            draws = [share.image_seeds(epoch, step) for share in shares]
            assert [draw for together in zip(*draws, strict=True) for draw in together] == alone.image_seeds(
                epoch, step
            )


def test_a_batch_that_processes_cannot_share_equally_is_refused() -> None:
    with pytest.raises(DataError, match="a batch of 7 cannot be divided among 2 processes"):
        BatchSampler(50, 7, 0, world=2)


def test_derived_seeds_differ_by_every_word_by_their_order_and_by_their_number() -> None:
    few = range(5)
    words = [(a, b) for a in few for b in few] + [(a, b, c) for a in few for b in few for c in few]
    assert len({derive_seed(*w) for w in words}) == len(words)
    assert all(0 <= derive_seed(*w) < 2**63 for w in words)


def test_derived_seeds_repeat() -> None:
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3)


def test_neighbouring_seeds_look_unrelated() -> None:
    bits = np.array([[(derive_seed(0, 0, i) >> b) & 1 for b in range(63)] for i in range(400)])
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=0.15)


AUGMENTATIONS = [
    Augmentation(),
    Augmentation("pad", pad=2, flip=True),
    Augmentation("pad", pad=1, flip=True, cutout=3, colour=True),
]


@pytest.fixture(scope="module")
def small() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (30, 3, 8, 8), dtype=np.uint8))
    return images, torch.arange(30)


def resident(small: tuple[Tensor, Tensor], augmentation: Augmentation, seed: int = 3) -> InMemoryLoader:
    images, labels = small
    return InMemoryLoader(images, labels, BatchSampler(30, 4, seed), for_pixels(images), augmentation)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("start", [0, 1, 6, 7])
def test_a_resident_epoch_begun_in_the_middle_is_the_same_epoch(
    small: tuple[Tensor, Tensor], augmentation: Augmentation, start: int
) -> None:
    whole = list(resident(small, augmentation).epoch(2))
    torch.manual_seed(99)  # an interrupted run comes back with another random state
    assert equal(resident(small, augmentation).epoch(2, start), whole[start:]) == 7 - start


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_processes_together_see_the_images_that_one_would(
    small: tuple[Tensor, Tensor], augmentation: Augmentation, world: int
) -> None:
    """Drawn crops, mirrors, squares and colours too; and what is drawn next is the same in all of them."""
    images, labels = small
    alone = resident(small, augmentation).epoch(1)
    orders = [BatchSampler(30, 4, 3, rank=rank, world=world) for rank in range(world)]
    shares = [InMemoryLoader(images, labels, order, for_pixels(images), augmentation).epoch(1) for order in orders]
    for whole, expected in alone:
        after = torch.rand(1)
        for rank, share in enumerate(shares):
            ours, theirs = next(share)
            assert torch.equal(ours, whole[rank::world])
            assert torch.equal(theirs, expected[rank::world])
            assert torch.equal(torch.rand(1), after)


def test_resident_batches_do_not_depend_on_what_the_step_draws(small: tuple[Tensor, Tensor]) -> None:
    quiet = list(resident(small, AUGMENTATIONS[2]).epoch(0))
    noisy = []
    for batch in resident(small, AUGMENTATIONS[2]).epoch(0):
        torch.rand(17)  # as dropout would
        noisy.append(batch)
    equal(noisy, quiet)


def test_resident_images_unaugmented_are_the_normalised_pixels_with_their_labels(small: tuple[Tensor, Tensor]) -> None:
    images, _ = small
    record = for_pixels(images)
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (record.mean, record.std))
    for batch, labels in resident(small, Augmentation()).epoch(0):
        expected = (images.numpy()[labels.numpy()] / 255 - mean) / std  # a label is its image's place here
        np.testing.assert_allclose(batch.numpy(), expected, rtol=1e-4, atol=1e-5)
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_resident_epochs_and_seeds_differ(small: tuple[Tensor, Tensor]) -> None:
    def first(seed: int, epoch: int) -> bytes:
        return next(iter(resident(small, AUGMENTATIONS[1], seed).epoch(epoch)))[0].numpy().tobytes()

    assert len({first(seed, epoch) for seed in (3, 4) for epoch in (0, 1)}) == 4


LARGE = Augmentation("resized", flip=True, cutout=5, colour=True)


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> Dataset:
    return open_dataset(str(photo_folder))


@pytest.mark.parametrize("crop", ["none", "pad"])
def test_resident_crops_are_small_in_the_first_epochs_and_whole_after(small: tuple[Tensor, Tensor], crop: str) -> None:
    training = resident(small, Augmentation(crop, pad=2, small=5, small_epochs=2))
    sides = [{tuple(images.shape) for images, _ in training.epoch(epoch)} for epoch in range(4)]
    assert sides == [{(4, 3, 5, 5)}] * 2 + [{(4, 3, 8, 8)}] * 2


def test_small_crops_of_images_in_memory_are_windows_of_their_own_images(small: tuple[Tensor, Tensor]) -> None:
    images, _ = small
    record = for_pixels(images)
    for batch, labels in resident(small, Augmentation(small=5, small_epochs=1)).epoch(0):
        for view, label in zip(batch, labels, strict=True):
            whole = record.normalised(images[label][None])[0]
            windows = whole.unfold(1, 5, 1).unfold(2, 5, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 5, 5)
            assert any(torch.equal(view, window) for window in windows)


def test_resident_labels_in_columns_belong_to_their_images(small: tuple[Tensor, Tensor]) -> None:
    images, places = small
    columns = torch.nn.functional.one_hot(places % 6, 6).to(torch.uint8)
    training = InMemoryLoader(images, columns, BatchSampler(30, 4, 3), for_pixels(images), Augmentation())
    one = resident(small, Augmentation())
    for (seen, labels), (expected, where) in zip(training.epoch(0), one.epoch(0), strict=True):
        assert torch.equal(seen, expected)
        assert torch.equal(labels, columns[where])


def streamed(photos: Dataset, workers: int, seed: int = 1, augmentation: Augmentation = LARGE) -> StreamingLoader:
    return StreamingLoader(photos.train, BatchSampler(24, 5, seed), for_photographs(32), augmentation, CPU, workers)


def test_streamed_batches_are_the_same_from_any_number_of_workers(photos: Dataset) -> None:
    alone = list(streamed(photos, 0).epoch(1))
    torch.manual_seed(99)
    assert equal(streamed(photos, 2).epoch(1), alone) == 4


def test_streamed_processes_together_see_the_images_that_one_would(photos: Dataset) -> None:
    def views(order: BatchSampler) -> list[Batch]:
        return list(StreamingLoader(photos.train, order, for_photographs(32), LARGE, CPU, 0).epoch(1))

    alone, shares = (
        views(BatchSampler(24, 6, 1)),
        [views(BatchSampler(24, 6, 1, rank=rank, world=2)) for rank in range(2)],
    )
    for step, (whole, expected) in enumerate(alone):
        for rank, share in enumerate(shares):
            assert torch.equal(share[step][0], whole[rank::2])
            assert torch.equal(share[step][1], expected[rank::2])


@pytest.mark.parametrize("start", [1, 3, 4])
def test_a_streamed_epoch_begun_in_the_middle_is_the_same_epoch(photos: Dataset, start: int) -> None:
    whole = list(streamed(photos, 0).epoch(1))
    torch.manual_seed(99)
    assert equal(streamed(photos, 0).epoch(1, start), whole[start:]) == 4 - start


def test_streamed_epochs_show_an_image_in_different_views(photos: Dataset) -> None:
    views = set()
    for epoch in range(3):
        taken = torch.cat(list(BatchSampler(24, 5, 1).batches(epoch))).tolist()
        images = torch.cat([images for images, _ in streamed(photos, 0).epoch(epoch)])
        if 7 in taken:
            views.add(images[taken.index(7)].numpy().tobytes())
    assert len(views) >= 2


def test_streamed_labels_belong_to_their_images(photos: Dataset) -> None:
    plain = streamed(photos, 0, augmentation=Augmentation())
    record = for_photographs(32)
    for picked, (images, labels) in zip(plain.order.batches(0), plain.epoch(0), strict=True):
        for i, image, label in zip(picked.tolist(), images, labels, strict=True):
            opened = record.open(photos.train.items[i], photos.train.names[i])
            assert torch.equal(image, record.normalised(opened[None])[0])
            assert int(label) == photos.train.labels[i]


def test_streamed_crops_are_small_in_the_first_epochs_and_whole_after(photos: Dataset) -> None:
    training = streamed(photos, 0, augmentation=replace(LARGE, small=16, small_epochs=1))
    sides = [{tuple(images.shape) for images, _ in training.epoch(epoch)} for epoch in range(2)]
    assert sides == [{(5, 3, 16, 16)}, {(5, 3, 32, 32)}]


def test_small_streamed_pictures_are_the_whole_ones_smaller(photos: Dataset) -> None:
    plain = streamed(photos, 0, augmentation=Augmentation("none", small=16, small_epochs=1))
    record = for_photographs(32).at(16)
    assert (record.size, record.resize) == (16, 18), "the margin keeps its proportion"
    (first, *_), (images, _) = next(iter(plain.order.batches(0))).tolist(), next(iter(plain.epoch(0)))
    opened = record.open(photos.train.items[first], "x")
    assert torch.equal(images[0], record.normalised(opened[None])[0])


def test_an_image_that_is_drawn_twice_is_seen_in_two_views(photos: Dataset) -> None:
    order = BatchSampler(24, 6, 1, np.eye(24)[7])  # nothing but one image
    images, _ = next(StreamingLoader(photos.train, order, for_photographs(32), LARGE, CPU, 0).epoch(0))
    assert len({image.numpy().tobytes() for image in images}) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_labels_in_columns_belong_to_their_images(photos: Dataset, workers: int) -> None:
    columns = np.eye(3, dtype=np.uint8)[photos.train.labels]
    columns[:, 0] = 1
    training = StreamingLoader(
        replace(photos.train, targets=columns), BatchSampler(24, 5, 1), for_photographs(32), LARGE, CPU, workers
    )
    for picked, (images, labels) in zip(training.order.batches(0), training.epoch(0), strict=True):
        assert images.shape == (5, 3, 32, 32)
        assert labels.dtype == torch.uint8
        np.testing.assert_array_equal(labels, columns[picked])


@pytest.mark.parametrize("workers", [0, 2])
def test_in_order_keeps_the_order_and_the_short_last_batch(photos: Dataset, workers: int) -> None:
    record = for_photographs(32)
    batches = list(in_order(photos.train, record, 7, workers))
    assert [len(images) for images in batches] == [7, 7, 7, 3]
    expected = [record.open(item, "x") for item in photos.train.items]
    assert torch.equal(torch.cat(batches), torch.stack(expected))


def test_processes_share_the_batches_of_a_split_without_one_left_out_or_read_twice(photos: Dataset) -> None:
    shares = [list(in_order(photos.train, for_photographs(32), 7, 0, slice(rank, None, 2))) for rank in range(2)]
    alone = list(in_order(photos.train, for_photographs(32), 7, 0))
    assert [len(share) for share in shares] == [2, 2]
    assert torch.equal(torch.cat([shares[0][0], shares[1][0], shares[0][1], shares[1][1]]), torch.cat(alone))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_named_in_one_line_whoever_decodes_it(tmp_path: Path, workers: int) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    split = Split([tmp_path / "bad.jpg"] * 2, np.array([0, 1]), ["cats/bad.jpg"] * 2)
    training = StreamingLoader(split, BatchSampler(2, 2, 0), for_photographs(32), LARGE, CPU, workers)
    for batches in (training.epoch(0), in_order(split, for_photographs(32), 2, workers)):
        with pytest.raises(DataError) as caught:
            list(batches)
        assert str(caught.value).startswith("cats/bad.jpg is not an image")
        assert "\n" not in str(caught.value)


def test_open_all_is_every_image_opened_in_order(photos: Dataset) -> None:
    record = for_photographs(32)
    images = decode_all(photos.train, record)
    assert images.dtype == torch.uint8
    for i, (item, name) in enumerate(zip(photos.train.items, photos.train.names, strict=True)):
        assert torch.equal(images[i], record.open(item, name))


def test_open_all_takes_arrays_of_the_right_size_as_they_are_and_resizes_others() -> None:
    digits = open_dataset("digits").test
    same = decode_all(digits, for_pixels(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)))
    np.testing.assert_array_equal(same.numpy(), digits.items.transpose(0, 3, 1, 2))
    assert decode_all(digits, for_pixels(torch.zeros(1, 1, 16, 16, dtype=torch.uint8))).shape == (360, 1, 16, 16)


def test_open_all_cuts_the_margin_off_arrays_of_the_right_size_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    split, record = Split(pixels, np.zeros(3, dtype=np.int64), ["x"] * 3), for_photographs(64)
    assert record.resize > record.size
    images = decode_all(split, record)
    assert all(torch.equal(images[i], record.open(pixels[i], "x")) for i in range(3))


def test_images_fit_into_memory_by_the_pixels_that_they_have_there(photos: Dataset) -> None:
    def held(side: int) -> float:
        """Bytes of all images, the shorter side at most `side`."""
        sizes = [size_of(item) for item in photos.train.items]
        return sum(3 * width * height * min(1, side / min(width, height)) ** 2 for width, height in sizes)

    assert decoded_side(photos.train, 3, 100) == 220
    assert decoded_side(photos.train, 3, 20) == 44
    for size in (20, 100):
        need = held(round(2.2 * size))
        assert decoded_side(photos.train, 3, size, limit=int(1.001 * need)) is not None
        assert decoded_side(photos.train, 3, size, limit=int(0.999 * need)) is None


def test_decoded_images_keep_their_pixels_unless_they_are_too_large(photos: Dataset) -> None:
    record = for_photographs(32)
    split = decode_split(photos.train, record, 60)
    kinds = set()
    for item, small, name in zip(photos.train.items, split.items, split.names, strict=True):
        whole = record.decoded(item, name).permute(1, 2, 0).numpy()
        height, width = whole.shape[:2]
        kinds.add(min(height, width) > 60)
        if min(height, width) <= 60:
            np.testing.assert_array_equal(small, whole)
        else:
            assert min(small.shape[:2]) == 60
            assert small.shape[0] / small.shape[1] == pytest.approx(height / width, rel=0.02)
            reference = Image.fromarray(whole).resize(small.shape[1::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(small, np.asarray(reference), atol=2)
    assert kinds == {True, False}
    assert split.names == photos.train.names
    assert split.labels.tolist() == photos.train.labels.tolist()


@pytest.mark.parametrize("crop", ["none", "pad", "resized", "scale"])
def test_crops_of_decoded_images_are_those_of_files_to_the_digit(photos: Dataset, crop: str) -> None:
    side = decoded_side(photos.train, 3, 64)
    assert side is not None
    assert side > max(min(size_of(item)) for item in photos.train.items), "none is made smaller"
    record, augmentation = for_photographs(64), replace(LARGE, crop=crop)
    order = BatchSampler(24, 5, 1)
    split = decode_split(photos.train, record, side)
    kept = StreamingLoader(split, order, record, augmentation, CPU, 0).epoch(1)
    assert equal(kept, StreamingLoader(photos.train, order, record, augmentation, CPU, 0).epoch(1)) == 4


def test_decoding_names_the_image_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    split = Split([tmp_path / "bad.jpg"], np.array([0]), ["cats/bad.jpg"])
    with pytest.raises(DataError, match=r"^cats/bad\.jpg is not an image"):
        decode_split(split, for_photographs(32), 60)


def test_a_split_opened_at_once_is_the_split_read_from_files(photos: Dataset) -> None:
    record = for_photographs(64)
    read = torch.cat(list(in_order(photos.train, record, 7, 0)))
    assert torch.equal(decode_all(photos.train, record), read)


def test_open_all_gives_the_channels_that_the_record_says_or_refuses() -> None:
    digits = open_dataset("digits").test
    try:
        images = decode_all(digits, for_pixels(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)))
    except DataError as fault:
        assert "digits" in str(fault)
    else:
        assert images.shape == (360, 3, 8, 8)


def test_open_all_names_the_image_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"^cats/bad\.jpg is not an image"):
        decode_all(Split([tmp_path / "bad.jpg"], np.array([0]), ["cats/bad.jpg"]), for_photographs(32))


def size_of(item: Path) -> tuple[int, int]:
    with Image.open(item) as image:
        return image.size


def test_the_natural_size_is_the_median_shorter_side(photos: Dataset) -> None:
    sides = [min(size_of(item)) for item in photos.train.items]
    assert natural_size(photos.train, 3) == int(np.median(sides))
    assert natural_size(open_dataset("digits").train, 1) == 8
