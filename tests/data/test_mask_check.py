"""The check of data with masks: what their values mean, pixels of each class, rare classes, wrong masks, leaks, and a
sheet with the label maps over the images."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import skipway
from skipway.cli import app
from skipway.data import open_dataset
from skipway.data.preprocess import for_photographs
from skipway.data.quality.contact_sheet import contact_sheet
from skipway.data.quality.corrupt import apply_policy
from skipway.data.quality.issues import from_json, to_json
from skipway.data.quality.mask_rules import mask_table
from skipway.data.quality.validate import check_dataset
from skipway.data.read_options import ReadOptions
from skipway.errors import SkipwayError
from skipway.reporting.palette import palette
from tests.data.masks import CLASSES, maps_of, scenes, write_folders, write_image, write_mask, write_pairs

SPLITS = ("{split}/images/{stem}.png", "{split}/masks/{stem}.png")


def test_pixels_are_those_of_the_masks(tmp_path: Path) -> None:
    drawn = scenes()
    drawn[0].labels[:2] = 255
    dataset = open_dataset(str(write_pairs(drawn, tmp_path / "set", *SPLITS)))
    table = mask_table(dataset)
    assert table is not None
    for split in ("train", "val"):
        plain = sum(np.bincount(one.labels.ravel(), minlength=256) for one in drawn if one.split == split)
        assert table.pixels[split] == dict(zip(CLASSES, plain[:4].tolist(), strict=True))
        assert table.ignored[split] == plain[255]
        assert table.share(split, "road") == plain[1] / plain[:4].sum()
        assert table.ignored_share(split) == plain[255] / plain.sum()


def test_a_result_comes_back_from_its_json(tmp_path: Path) -> None:
    result = check_dataset(open_dataset(str(write_folders(scenes(), tmp_path / "set"))))
    assert result.masks is not None
    assert from_json(to_json(result)) == result
    assert check_dataset(open_dataset(str(tmp_path / "set"))).reused


def test_a_class_of_few_pixels_is_named_with_its_share(tmp_path: Path) -> None:
    drawn = [one._replace(labels=np.where(one.labels > 1, 0, one.labels).astype(np.uint8)) for one in scenes()]
    drawn[3].labels[0, 0] = 3
    drawn[3].labels[1:3, 0:3] = 2
    result = check_dataset(open_dataset(str(write_folders(drawn, tmp_path / "set"))))
    total = sum(one.labels.size for one in drawn)
    (found,) = [one for one in result.findings if one.category == "rare class"]
    assert found.severity == "warning"
    assert found.detail == f"car ({1 / total:.2%} of the pixels), tree ({6 / total:.2%} of the pixels)"
    assert "--balance weights" in found.action


def test_wrong_masks_are_faults_and_may_be_skipped_but_not_moved(tmp_path: Path) -> None:
    root = write_pairs(scenes(), tmp_path / "set", *SPLITS)
    (root / "train/masks/im01.png").unlink()
    Image.new("L", (9, 9)).save(root / "val/masks/im02.png")
    write_mask(np.full((9, 9), 3, np.uint8), root / "train" / "masks" / "lonely.png")
    dataset = open_dataset(str(root))
    result = check_dataset(dataset)
    faults = {(one.category, one.name) for one in result.of("fault")}
    assert faults == {
        ("missing mask", "train/images/im01.png"),
        ("size mismatch", "val/images/im02.png"),
        ("missing image", "train/masks/lonely.png"),
    }
    assert len(result.bad) == 3
    kept = apply_policy(dataset, result, "skip")
    assert len(kept.left_out) == 3
    assert not kept.bad_annotations
    assert len(kept.train) == 7
    with pytest.raises(SkipwayError, match="images with wrong annotations, 3 in all"):
        apply_policy(dataset, result, "error")
    (root / "train/images/im00.png").write_bytes(b"no image")
    dataset = open_dataset(str(root))
    result = check_dataset(dataset)
    assert ("not an image", "train/images/im00.png") in {(one.category, one.name) for one in result.of("fault")}
    with pytest.raises(SkipwayError, match="--bad quarantine moves images"):
        apply_policy(dataset, result, "quarantine")


def test_the_same_image_in_two_splits_is_a_leak_whatever_its_mask(tmp_path: Path) -> None:
    root = write_pairs(scenes(), tmp_path / "set", *SPLITS)
    shutil.copy(root / "train/images/im01.png", root / "val/images/copy.png")
    write_mask(np.zeros_like(scenes()[1].labels), root / "val" / "masks" / "copy.png")
    found = check_dataset(open_dataset(str(root))).findings
    (leak,) = [one for one in found if one.category == "leak"]
    assert leak.detail == "train/images/im01.png (train) is the same file as val/images/copy.png (val)"
    assert not [one for one in found if one.category in ("conflict", "imbalance", "ignored file")]


def test_the_colours_of_the_palette_are_pascal_vocs() -> None:
    expected = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]
    assert palette(256)[[0, 1, 2, 15, 20, 255]].tolist() == expected
    assert len(np.unique(palette(256), axis=0)) == 256


def test_the_sheet_has_each_class_in_its_colour_where_the_mask_has_it(tmp_path: Path) -> None:
    labels = np.zeros((160, 120), np.uint8)
    labels[:80, :60], labels[80:, 60:], labels[:80, 60:] = 1, 2, 255
    write_image(scenes(1)[0]._replace(labels=labels), tmp_path / "images" / "im00.png")
    Image.fromarray(np.full((160, 120, 3), 200, np.uint8)).save(tmp_path / "images" / "im00.png")
    write_mask(labels, tmp_path / "masks" / "im00.png")
    (tmp_path / "classes.txt").write_text("background\nroad\ntree\n")
    dataset = open_dataset(str(tmp_path))
    colours = palette(3)
    sheet = np.asarray(contact_sheet(dataset, replace(for_photographs(160), fit="pad"), colours)).astype(int)
    tile = sheet[6 + 14 + 6 + 14 + 6 :][:160, 6:166]  # below the heading and the title of the first row
    inside = tile[:, 20:140]  # the image is centred in its square
    plain = np.full((160, 120, 3), 200)
    for label in (1, 2):
        plain[labels == label] = (plain[labels == label] + colours[label]) / 2
    assert np.abs(inside - plain).max() <= 2
    assert (sheet == colours[2]).all(2).any()  # beside the title


def test_the_command_shows_values_and_shares_and_draws_a_preview(tmp_path: Path) -> None:
    root = write_pairs(scenes(), tmp_path / "set", *SPLITS)
    runner = CliRunner(env={"COLUMNS": "200", "XDG_CACHE_HOME": str(tmp_path / "cache")})
    preview = tmp_path / "sheet.png"
    done = runner.invoke(app, ["check", str(root), "--preview", str(preview), "--ignore", "tree"])
    assert done.exit_code == 0, done.output
    table = mask_table(open_dataset(str(root), ReadOptions(ignore="tree")))
    assert table is not None
    assert f"{table.share('train', 'road'):.2%}" in done.output
    assert f"{table.ignored_share('val'):.2%}" in done.output
    assert "masks of values 0, 1, 3, named by" in done.output
    assert "ignored: 2, 255" in done.output
    with Image.open(preview) as sheet:
        assert sheet.width > 320
    found = json.loads(runner.invoke(app, ["check", str(root), "--json"]).output)
    assert set(found["masks"]["pixels"]["train"]) == set(CLASSES)


def test_check_in_python_counts_the_pixels_of_camvid(shared_data: Path) -> None:
    result = skipway.check(shared_data / "camvid", reading=ReadOptions(ignore="11"))
    assert result.masks is not None
    assert result.masks.pixels["val"]["10"] == 387010
    assert [one.name for one in result.findings if one.category == "rare class"] == ["10"]
    assert not result.of("fault")


def test_masks_that_may_not_be_read_are_faults(tmp_path: Path) -> None:
    root = write_folders(scenes(6), tmp_path / "set")
    file = root / "masks" / "im02.png"
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    ((_, _, reason),) = open_dataset(str(root)).bad_annotations
    assert reason == "invalid annotation: masks/im02.png: it cannot be read for lack of permission"
    assert len(maps_of(open_dataset(str(root)))) == 5
