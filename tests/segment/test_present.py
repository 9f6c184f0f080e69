"""The classes of pixels as tables, JSON, CSV, COCO's format, pictures and label maps; masks against pycocotools."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as oracle
from pydantic import create_model
from rich.console import Console
from segmented import filled

from skipway import SkipwayError
from skipway.data.preprocess import Preprocessing
from skipway.deploy.predict import writer
from skipway.reporting.palette import palette
from skipway.tasks.classify.present import ClassPresenter
from skipway.tasks.segment import present
from skipway.tasks.segment.drawing import differences
from skipway.tasks.segment.prediction import SegmentPrediction
from skipway.tasks.segment.present import SegmentPresenter

CLASSES = ("background", "cat", "dog", "never")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # in pycocotools
HOW = SegmentPresenter()
SEEN = Preprocessing(3, 32, 32, (0.5,) * 3, (0.25,) * 3, fit="pad")


def labels_of(height: int = 30, width: int = 40) -> np.ndarray:
    """Background, a cat in two parts, and a dog with a hole."""
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[2:8, 3:10] = 1
    labels[20:28, 30:37] = 1
    labels[10:26, 5:25] = 2
    labels[14:20, 10:18] = 0
    return labels


def predicted(labels: np.ndarray, name: str = "a.png") -> SegmentPrediction:
    return SegmentPrediction(name, labels=labels, classes=CLASSES, size=labels.shape)


def decoded(mask: dict) -> np.ndarray:
    return oracle.decode({"size": mask["size"], "counts": mask["counts"].encode()}).astype(bool)


def test_json_has_each_present_class_with_its_share_and_its_pixels() -> None:
    labels = labels_of()
    row = json.loads(json.dumps(HOW.row(predicted(labels))))
    assert (row["width"], row["height"]) == (40, 30)
    assert [one["class"] for one in row["segments"]] == ["background", "dog", "cat"], "the largest first"
    assert sum(one["share"] for one in row["segments"]) == pytest.approx(1)
    for one in row["segments"]:
        expected = labels == CLASSES.index(one["class"])
        assert np.array_equal(decoded(one["mask"]), expected)
        assert one["share"] == pytest.approx(expected.mean())


def test_the_masks_of_noise_are_reduced_until_they_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "LONGEST", 4000)
    labels = np.random.default_rng(0).integers(0, 3, (200, 300)).astype(np.uint8)
    masks = {one["class"]: one["mask"] for one in HOW.row(predicted(labels))["segments"]}
    assert sum(len(mask["counts"]) for mask in masks.values()) <= 4000
    step = 200 // masks["cat"]["size"][0]
    assert step > 1
    assert all(np.array_equal(decoded(masks[name]), labels[::step, ::step] == CLASSES.index(name)) for name in masks)


def test_polygons_are_there_when_asked_for_and_hold_the_pixels_of_the_masks() -> None:
    labels = labels_of()
    for one in json.loads(json.dumps(HOW.with_polygons().row(predicted(labels))))["segments"]:
        mask = labels == CLASSES.index(one["class"])
        assert np.array_equal(filled(one["polygons"], *labels.shape), mask)
    assert "polygons" not in HOW.row(predicted(labels))["segments"][0]
    with pytest.raises(SkipwayError, match="leave out --polygons"):
        ClassPresenter().with_polygons()


def test_an_image_that_cannot_be_read_has_the_same_fields_empty() -> None:
    assert HOW.row(None) == {"width": 0, "height": 0, "segments": []}
    assert HOW.csv_rows(None, 5) == [["", "", ""]]


def test_the_servers_schema_takes_the_row() -> None:
    answer = create_model("Answer", **HOW.schema())
    row = HOW.row(predicted(labels_of()))
    assert answer.model_validate(row).model_dump(by_alias=True) == row


def test_a_table_names_the_classes_with_their_shares(capsys: pytest.CaptureFixture[str]) -> None:
    writer.print_table([predicted(labels_of())], HOW, Console(width=120))
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:4] == ["a.png", "background", "69.2", "%"]
    assert "dog 22.7 %, cat" in line
    assert "never" not in line


def test_csv_has_a_row_for_each_class_and_its_pixels_add_up(tmp_path: Path) -> None:
    unread = SegmentPrediction("b.png", "b.png cannot be read")
    writer.write_csv([predicted(labels_of()), unread], HOW, tmp_path / "out.csv", 4)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert sum(int(row["pixels"]) for row in rows[:-1]) == 30 * 40
    assert [row["class"] for row in rows] == ["background", "dog", "cat", ""]


def test_coco_annotations_are_those_that_pycocotools_measures() -> None:
    labels = labels_of()
    image, objects = HOW.coco(predicted(labels), CLASSES)
    assert image == {"width": 40, "height": 30}
    assert [one["category_id"] for one in objects] == [1, 2, 3]
    for one in objects:
        encoded = {"size": one["segmentation"]["size"], "counts": one["segmentation"]["counts"].encode()}
        assert one["area"] == oracle.area(encoded)
        assert one["bbox"] == oracle.toBbox(encoded).tolist()
        assert np.array_equal(decoded(one["segmentation"]), labels == one["category_id"] - 1)


def passed(predictions: Iterator[SegmentPrediction]) -> int:
    return sum(1 for _ in predictions)


def test_label_maps_are_png_files_whose_indices_are_the_classes(tmp_path: Path) -> None:
    labels = [labels_of(), labels_of()[:, ::-1].copy()]
    found = [predicted(labels[0], "x/photo.jpg"), predicted(labels[1], "y/photo.jpg"), SegmentPrediction("z", "broken")]
    assert passed(writer.masked(found, HOW, tmp_path)) == 3, "every prediction goes on to the next writer"
    for name, expected in zip(("photo.png", "photo-2.png"), labels, strict=True):
        with Image.open(tmp_path / name) as picture:
            assert picture.mode == "P"
            assert np.array_equal(np.asarray(picture), expected)
            assert np.array_equal(np.asarray(picture.convert("RGB")), palette(4)[expected])
    assert len(list(tmp_path.iterdir())) == 2


def test_tasks_without_a_class_for_each_pixel_say_so(tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match="no class for each pixel: leave out --masks"):
        ClassPresenter().mask(predicted(labels_of()))


def test_a_folder_that_is_not_empty_is_refused_by_its_option(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(SkipwayError, match="is not empty: choose another --masks"):
        writer.require_new_folder(tmp_path, "--masks")


def test_a_drawing_blends_the_colours_and_leaves_the_picture_whole_above_the_legend(tmp_path: Path) -> None:
    labels = labels_of()
    grey = Image.new("RGB", (40, 30), (200, 200, 200))
    drawn = np.asarray(HOW.draw(grey, predicted(labels), CLASSES)).astype(int)
    assert drawn.shape[1] == 40 and drawn.shape[0] > 30
    expected = 0.45 * 200 + 0.55 * palette(4)[labels].astype(float)
    assert np.abs(drawn[:30] - expected).max() <= 1
    legend = drawn[30:].reshape(-1, 3)
    for label in (0, 1, 2):
        assert (np.abs(legend - palette(4)[label]).max(1) <= 1).any(), f"the legend has the colour of {CLASSES[label]}"
    assert not (legend == palette(4)[3]).all(1).any(), "and none of a class that is not there"


def test_differences_mark_wrong_pixels_and_ignored_ones_alone() -> None:
    truth = np.array([[0, 1, 255], [1, 1, 0]], dtype=np.uint8)
    found = np.array([[0, 0, 1], [1, 1, 0]], dtype=np.uint8)
    drawn = np.asarray(differences(Image.new("RGB", (3, 2), (0, 0, 0)), truth, found))
    assert tuple(drawn[0, 1]) == (213, 94, 0)
    assert tuple(drawn[0, 2]) == (128, 128, 128)
    right = drawn[[0, 1, 1, 1], [0, 0, 1, 2]]
    assert (right == right[0]).all() and right[0, 0] == right[0, 1] == right[0, 2] == 165


def test_the_main_figure_is_mean_iou_with_its_interval() -> None:
    figure, name, note = HOW.figure_of({"miou": 0.6342, "miou_interval": [0.61, 0.6499]})
    assert (figure, name) == ("63.42\u00a0%", "mean IoU")
    assert note == "95\u00a0% interval 61.00 to 64.99"


def test_drawn_pictures_are_named_as_their_images(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    out = tmp_path / "drawn"
    out.mkdir()
    found = [predicted(labels_of(), str(tmp_path / "photo.png"))]
    assert passed(writer.drawn(found, HOW, CLASSES, SEEN, out)) == 1
    assert [file.name for file in out.iterdir()] == ["photo.jpg"]
