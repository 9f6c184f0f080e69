"""A detector learns, can be stopped anywhere, and is measured once per image by any number of processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import shapes
from small import killed_at, same, weights

import skipway
from skipway.commands.loaded_run import open_run
from skipway.data.box_targets import from_images
from skipway.data.dataset import Dataset, Split
from skipway.errors import SkipwayError
from skipway.evaluation.evaluate import score
from skipway.training import loop
from skipway.training.distributed import free_port
from skipway.training.recipes import DETECT_SCRATCH, Recipe
from skipway.training.run_manifest import RunOptions

from .conftest import CPU, QUIET, TINY


def last(run: Path) -> dict:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def watched(dataset: Dataset) -> Dataset:
    """Evaluated on what it learns."""
    return replace(dataset, val=dataset.train, test=None)


def test_sixteen_drawn_images_are_learnt(learnt: Path) -> None:
    assert last(learnt)["val_ap50"] > 0.95


def test_permuted_classes_are_not_found(learnt: Path) -> None:
    """The same boxes with the other class: an evaluation that ignored classes would not notice."""
    dataset = watched(shapes())
    swapped = dataset.train.targets.relabel(np.array([1, 0]), 2)
    wrong = replace(dataset, train=replace(dataset.train, targets=swapped))
    run = open_run(learnt, CPU)
    scored = score(run.card, wrong, wrong.fingerprint, "train", run.scorer)
    assert run.evaluate(scored).metrics["ap50"] < 0.2


def test_images_without_objects_are_learnt_from_and_lower_the_scores(tmp_path: Path) -> None:
    dataset = shapes(16)
    blank = from_images([[]] * 16, [(96, 96)] * 16)
    mixed = replace(dataset.train, targets=concatenated(dataset, blank))
    run = loop.train(
        replace(dataset, train=mixed, val=None, test=None),
        replace(TINY, iterations=6, val=0.0),
        tmp_path / "r",
        CPU,
        QUIET,
    )
    assert np.isfinite(last(run)["train_loss"])


def concatenated(dataset: Dataset, blank: object) -> object:
    """The first half of the images with their objects, the others said to have none."""
    targets = dataset.train.targets
    first = targets.take(np.arange(8))
    return replace(first, counted=np.append(first.counted, [0] * 8), sizes=np.full((16, 2), 96))  # type: ignore[type-var]


@pytest.mark.parametrize("model", ["fcos_resnet18d_x0_5_light", "fasterrcnn_resnet18d_x0_5"])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(model: str, tmp_path: Path) -> None:
    """Scale jitter, mirroring and, in two stages, the sampling of proposals are the same again."""
    dataset, recipe = shapes(4, val=1), replace(TINY, model=model, batch=2, iterations=2)

    def fit(out: Path, resume: bool = False) -> Path:
        return loop.train(dataset, recipe, out, CPU, QUIET, resume, RunOptions(checkpoint_steps=1))

    whole, cut = fit(tmp_path / "whole"), tmp_path / "cut"
    with killed_at(2):
        fit(cut)
    fit(cut, resume=True)
    assert same(weights(whole), weights(cut))


def test_two_processes_evaluate_each_image_once(learnt: Path, tmp_path: Path) -> None:
    """Seven images of val, shared unevenly: the figures of the trained network are those that one process finds."""
    script = Path(__file__).with_name("two_processes.py")
    both = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    both |= {"MASTER_PORT": str(free_port()), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(script), str(tmp_path / "run"), str(learnt)]
    started = [subprocess.Popen(command, env=both | {"RANK": r, "LOCAL_RANK": r}) for r in ("0", "1")]
    assert [process.wait(timeout=200) for process in started] == [0, 0]
    evaluation = skipway.evaluate(tmp_path / "run", shapes(16, val=7), split="val", hardware=CPU)
    assert evaluation.metrics["n"] == 7
    assert evaluation.metrics["ap50"] > 0.2, "where nothing is found, any two agree"
    for figure in ("ap", "ap50", "ap75"):
        assert last(tmp_path / "run")[f"val_{figure}"] == pytest.approx(evaluation.metrics[figure], abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": "crop"}, "--fit crop cuts objects off"),
        ({"mixup": 0.2}, "mixup and CutMix mix classes"),
        ({"crop": "resized"}, "--crop resized does not move boxes"),
        ({"balance": "weights"}, "--balance is for one class an image"),
        ({"model": "resnet18"}, "resnet18"),
        ({"model": "fcos_resnet81"}, "fcos_resnet18"),
    ],
)
def test_settings_that_boxes_do_not_allow_are_refused_in_one_line(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match=message) as refused:
        loop.train(shapes(), replace(TINY, **changes), tmp_path / "run", CPU, QUIET)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_classifier_refuses_a_detector_as_its_network(tmp_path: Path) -> None:
    recipe: Recipe = replace(DETECT_SCRATCH, fit="crop", crop="none")
    images = np.zeros((40, 32, 32, 3), dtype=np.uint8)
    dataset = Dataset("grey", ("a", "b"), Split(images, np.arange(40) % 2, [str(i) for i in range(40)]))
    with pytest.raises(SkipwayError, match="fcos_resnet18"):
        loop.train(dataset, recipe, tmp_path / "run", CPU, QUIET)


def test_the_input_has_the_shape_of_the_images_in_multiples_of_the_stride() -> None:
    from skipway.tasks.detect.task import Detect

    def canvas(height: int, width: int, size: int) -> tuple[int, int]:
        images = Split([b""] * 3, from_images([[]] * 3, [(height, width)] * 3), ["a", "b", "c"])
        return Detect(("a",)).canvas(Dataset("x", ("a",), images), size)

    assert canvas(480, 640, 320) == (256, 320) or canvas(480, 640, 320) == (240, 320)
    assert all(side % 32 == 0 for side in canvas(480, 640, 320))
    assert canvas(640, 480, 640) == (640, 480)
    assert canvas(100, 1000, 320) == (160, 320), "at most twice as wide as high"


def test_the_loss_of_a_step_does_not_depend_on_workers(tmp_path: Path) -> None:
    """Batches drawn by worker processes have the boxes of those drawn by the training process."""
    from skipway.data.loader import BatchSampler, StreamingLoader
    from skipway.data.preprocess import Preprocessing
    from skipway.tasks.detect.transform import BoxTransform
    from skipway.training.dataloaders import Augmentation

    split = shapes(16).train
    record = Preprocessing(3, 96, 96, (0.5,) * 3, (0.25,) * 3, fit="pad")
    transform = BoxTransform(record, True, True)

    def first(workers: int) -> tuple:
        order = BatchSampler(16, 8, seed=3)
        loader = StreamingLoader(split, order, record, Augmentation(), torch.device("cpu"), workers, transform)
        return next(loader.epoch(1))

    one, other = first(0), first(2)
    assert torch.equal(one.images, other.images)
    assert all(torch.equal(a, b) for a, b in zip(one.targets, other.targets, strict=True))


def test_sixteen_photographs_of_coco_are_learnt_with_their_masks(shared_data: Path, tmp_path: Path) -> None:
    """Mask R-CNN takes minutes to learn them (benchmarks.mask_rcnn); here it takes two steps, whose losses are finite
    and whose masks have the size of the photographs."""
    from skipway.data import open_dataset

    whole = open_dataset(str(shared_data / "coco" / "instances.json"))
    few = replace(whole, train=whole.train.take(np.arange(4)), val=whole.train.take(np.arange(2)), test=None)
    recipe = replace(TINY, model="maskrcnn_resnet18d_x0_5", size=128, batch=2, iterations=2, crop="scale")
    run = loop.train(few, recipe, tmp_path / "run", CPU, QUIET)
    assert np.isfinite(last(run)["train_loss"])
    evaluation = skipway.evaluate(run, few, split="val", hardware=CPU)
    assert {"mask_ap", "mask_ap50"} <= evaluation.metrics.keys()


def test_a_network_of_masks_refuses_boxes_alone(tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match="learns masks, and shapes has only boxes"):
        loop.train(shapes(), replace(TINY, model="maskrcnn_resnet18d_x0_5"), tmp_path / "run", CPU, QUIET)


@pytest.mark.parametrize("option", [["--protocol", "flip"], ["--ensemble"]])
def test_views_and_networks_are_not_averaged(option: list[str], learnt: Path) -> None:
    from typer.testing import CliRunner

    from skipway.cli import app

    said = CliRunner().invoke(app, ["eval", str(learnt), str(learnt), "--on", "digits", *option])
    assert said.exit_code != 0
    assert "not averaged" in said.output + str(said.exception)
