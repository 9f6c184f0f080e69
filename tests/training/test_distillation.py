"""Distillation: what a teacher sees, what is learned from it, and what the card says."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from small import CPU, EVERY_2, QUIET, SHORT, few_digits, killed_at, same, weights

from skipway import bundle
from skipway.data.dataset import Dataset, match_classes
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import MultiLabelTargets
from skipway.errors import SkipwayError
from skipway.tasks import task_for
from skipway.training import loop
from skipway.training.distillation import Teacher, load_teacher
from skipway.training.setup import setup_training

TAUGHT = replace(SHORT, epochs=2, model="resnet20")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield loop.train(few_digits(), replace(SHORT, epochs=2), tmp_path_factory.mktemp("teacher") / "run", CPU, QUIET)


def loaded(run: Path, views: Preprocessing | None = None) -> Teacher:
    views = views or Preprocessing(**bundle.read_card(run).preprocessing)
    return load_teacher(replace(TAUGHT, teacher=str(run)), task_for(few_digits()), views, CPU)


def test_a_killed_run_learns_the_same_from_its_teacher(tmp_path: Path, teacher: Path) -> None:
    recipe = replace(TAUGHT, teacher=str(teacher), teacher_weight=0.7, micro=10)
    whole = loop.train(few_digits(), recipe, tmp_path / "whole", CPU, QUIET, options=EVERY_2)
    with killed_at(15):
        loop.train(few_digits(), recipe, tmp_path / "killed", CPU, QUIET, options=EVERY_2)
    again = loop.train(few_digits(), recipe, tmp_path / "killed", CPU, QUIET, resume=True, options=EVERY_2)
    assert same(weights(whole), weights(again))
    without = loop.train(few_digits(), replace(TAUGHT, micro=10), tmp_path / "without", CPU, QUIET)
    assert not same(weights(whole), weights(without))


def test_the_card_names_the_teacher_with_its_checksum(tmp_path: Path, teacher: Path) -> None:
    recipe = replace(TAUGHT, epochs=1, teacher=str(teacher))
    with (tmp_path / "log").open("w") as log:
        run = loop.train(few_digits(), recipe, tmp_path / "run", CPU, Console(file=log, width=300))
    checksum = bundle.sha256(teacher / "weights.safetensors")
    origin = bundle.read_card(run).teacher
    assert (origin["run"], origin["network"], origin["weights_sha256"]) == (str(teacher), "resnet20", checksum)
    assert f"teacher {teacher} (resnet20): 0.5 of the loss, temperature 4" in (tmp_path / "log").read_text()


def test_a_run_is_not_resumed_with_another_teacher(tmp_path: Path, teacher: Path) -> None:
    moved = tmp_path / "moved"
    recipe = replace(TAUGHT, teacher=str(teacher))
    with killed_at(15):
        loop.train(few_digits(), recipe, tmp_path / "run", CPU, QUIET, options=EVERY_2)
    other = loop.train(few_digits(), replace(SHORT, epochs=1, seed=5), moved, CPU, QUIET)
    with pytest.raises(SkipwayError, match=r"started with another teacher \(weights\)"):
        loop.train(few_digits(), replace(recipe, teacher=str(other)), tmp_path / "run", CPU, QUIET, resume=True)


def test_at_equal_preprocessing_the_teacher_sees_the_students_inputs(teacher: Path) -> None:
    images = torch.randn(4, 1, 8, 8)
    found = loaded(teacher)
    assert found.own_view(images) is images
    with torch.no_grad(), CPU.autocast():
        expected = found.model.net(images)
    torch.testing.assert_close(found.scores(images), expected.float())


def test_the_teacher_sees_its_own_size_mean_and_deviation(teacher: Path) -> None:
    """Pixels of one value stay what they are at any size: the view is theirs under the teacher's mean and deviation."""
    own = Preprocessing(**bundle.read_card(teacher).preprocessing)
    views = replace(own, size=16, resize=16, mean=(0.5,), std=(0.25,))
    grey = torch.full((2, 1, 16, 16), (0.3 - 0.5) / 0.25)
    view = loaded(teacher, views).own_view(grey)
    assert view.shape == (2, 1, 8, 8)
    torch.testing.assert_close(view, torch.full_like(view, (0.3 - own.mean[0]) / own.std[0]))
    small_crop = loaded(teacher, views).own_view(grey[:, :, :14, :14])
    assert small_crop.shape[-1] == max(7, loaded(teacher).model.net.smallest)


def test_scores_are_matched_by_the_names_of_the_classes(tmp_path: Path, teacher: Path) -> None:
    turned = match_classes(few_digits(), few_digits().classes[::-1])
    views = Preprocessing(**bundle.read_card(teacher).preprocessing)
    found = load_teacher(replace(TAUGHT, teacher=str(teacher)), task_for(turned), views, CPU)
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(found.scores(images), loaded(teacher).scores(images).flip(1))


def test_the_teacher_learns_nothing(teacher: Path) -> None:
    setup = setup_training(few_digits(), replace(TAUGHT, teacher=str(teacher)), CPU, QUIET)
    assert setup.teacher is not None
    net = setup.teacher.model.net
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())


def test_a_teacher_of_images_with_other_channels_is_refused(teacher: Path) -> None:
    colour = Preprocessing(3, 8, 8, (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(SkipwayError, match="takes images of 1 channels, not 3: give --channels 1"):
        loaded(teacher, colour)


def other_classes(dataset: Dataset) -> Dataset:
    return replace(dataset, classes=("zero", *dataset.classes[1:]))


def tagged(dataset: Dataset) -> Dataset:
    labels = np.eye(10, dtype=np.uint8)[dataset.train.labels]
    return replace(dataset, train=replace(dataset.train, targets=MultiLabelTargets(labels)))


@pytest.mark.parametrize(
    ("change", "fields", "said"),
    [
        (other_classes, {}, r"has other classes than the data \(0, zero\): both need the same"),
        (tagged, {}, "is of the task classify, and the data are for tag"),
        (lambda dataset: dataset, {"teacher": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_in_a_line(
    tmp_path: Path, teacher: Path, change: Any, fields: dict[str, Any], said: str
) -> None:
    recipe = replace(TAUGHT, **{"teacher": str(teacher), **fields})
    with pytest.raises(SkipwayError, match=said) as refused:
        loop.train(change(few_digits()), recipe, tmp_path / "run", CPU, QUIET)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
