"""`skipway check` as people type it, and the check before every training."""

import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from typed import Skipway

from skipway.cli.check import print_masks
from skipway.commands import check, train
from skipway.data import open_dataset
from skipway.data.quality.issues import MaskTable
from skipway.data.read_options import ReadOptions
from skipway.training.recipes import find_recipe
from tests.data.boxes import Picture, coco_dict, write_voc


def picture(seed: int, side: int = 20) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """set/: two classes of four small PNGs."""
    for i in range(8):
        file = tmp_path / "set" / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(file)
    return tmp_path / "set"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


TRAIN = ("train", "./set", "--epochs", "1", "--device", "cpu", "--out", "run")


def test_sound_data_end_in_0_and_no_findings(skipway: Skipway, folder: Path) -> None:
    code, out, err = skipway("check", "./set")
    assert (code, err) == (0, "")
    assert out.startswith("checked 8 images (")
    assert "no findings" in out.splitlines()[0]
    assert "PNG 8" in out
    assert [line.split() for line in out.splitlines() if line.startswith(("a ", "b ", "all "))] == [
        ["a", "4"],
        ["b", "4"],
        ["all", "8"],
    ]
    assert "files unchanged" in skipway("check", "./set")[1]


def test_faults_end_in_1_with_the_file_what_is_done_and_how_to_change_it(skipway: Skipway, folder: Path) -> None:
    cut(folder / "a" / "2.png")
    (folder / "b" / "0.png").write_bytes((folder / "a" / "0.png").read_bytes())
    code, out, _ = skipway("check", "./set")
    assert code == 1
    assert "1 truncated, 1 conflict" in out
    assert "a/2.png: cannot be read" in out
    assert "--bad skip leaves it out" in out
    assert "a/0.png (train, a) is the same file as b/0.png (train, b)" in out


def test_json_has_every_finding_with_its_action(skipway: Skipway, folder: Path) -> None:
    cut(folder / "a" / "2.png")
    (folder / "empty").mkdir()
    code, out, _ = skipway("check", "./set", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["counts"] == {"train": {"a": 4, "b": 4, "empty": 0}}
    held = {one["category"]: one for one in found["findings"]}
    assert held["empty class"]["name"] == "empty"
    assert held["truncated"]["name"] == "a/2.png"
    assert all(one["action"] and one["severity"] in ("fault", "warning", "note") for one in found["findings"])
    assert [one["name"] for one in found["bad"]] == ["a/2.png"]


def test_wrong_usage_ends_in_2_and_one_line(skipway: Skipway, folder: Path) -> None:
    (folder.parent / "there.png").write_bytes(b"")
    for arguments, said in {
        ("no/such",): "does not exist",
        ("digitz",): "did you mean 'digits'",
        ("./set", "--bad", "maybe"): "--bad 'maybe' is not one of error, skip, quarantine",
        ("./set", "--fit", "stretch"): "--fit 'stretch' is not one of crop, pad, squash",
        ("./set", "--preview", "there.png"): "there.png exists",
        ("./set", "--preview", "sheet.jpg"): "is no PNG",
        ("./set", "--preview", "no/sheet.png"): "there is no folder no",
        ("./set", "--size", "-3"): "--size",
    }.items():
        code, out, err = skipway("check", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), arguments
        assert said in err


def test_the_preview_is_a_sheet_of_the_asked_size(skipway: Skipway, folder: Path) -> None:
    code, out, _ = skipway("check", "./set", "--preview", "sheet.png", "--size", "100", "--fit", "pad")
    assert code == 0
    assert out.endswith("the preview is sheet.png\n")
    with Image.open("sheet.png") as sheet:
        assert sheet.width == 6 + 4 * (100 + 6)
    assert json.loads(skipway("check", "./set", "--preview", "other.png", "--json")[1])["images"] == 8


def test_names_that_do_not_print_and_markup_do_no_harm(skipway: Skipway, folder: Path) -> None:
    (folder / "[red]").mkdir()
    picture(50).save(folder / "[red]" / "line\nbreak[bold].png")
    code, out, _ = skipway("check", "./set")
    assert code == 0
    assert "[red]" in out
    assert "[red]/line\\nbreak[bold].png" in out


def test_training_stops_before_it_starts_with_one_line(skipway: Skipway, folder: Path) -> None:
    cut(folder / "a" / "2.png")
    code, out, err = skipway(*TRAIN)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "set has unreadable images, 1 in all, the first: a/2.png cannot be read (" in err
    assert "--bad skip trains without them" in err
    assert not Path("run").exists()


def test_a_network_that_is_not_there_is_said_before_any_image_is_opened(skipway: Skipway, folder: Path) -> None:
    cut(folder / "a" / "2.png")
    code, out, err = skipway(*TRAIN, "--model", "resnet21")
    assert (code, out) == (2, "")
    assert "unknown model 'resnet21'" in err


def test_training_without_them_counts_and_names_them(skipway: Skipway, folder: Path) -> None:
    cut(folder / "a" / "2.png")
    code, out, err = skipway(*TRAIN, "--bad", "skip", "--val", "0.25")
    assert (code, err) == (0, "")
    assert "checked 8 images" in out
    assert "left out 1 images that cannot be read (--bad skip)" in out
    assert "a/2.png" in Path("run/report.json").read_text()
    assert (folder / "a" / "2.png").exists()


def test_quarantine_moves_files_and_leaves_a_set_that_trains(skipway: Skipway, folder: Path) -> None:
    cut(folder / "a" / "2.png")
    code, _, err = skipway("check", "./set", "--bad", "quarantine")
    assert code == 1
    assert "moved 1 files to" in err
    assert (folder.parent / "set-quarantine" / "a" / "2.png").exists()
    assert skipway("check", "./set")[0] == 0


def test_quarantine_of_parquet_is_refused_in_one_line(skipway: Skipway, tmp_path: Path) -> None:
    file = tmp_path / "set" / "a.png"
    file.parent.mkdir()
    picture(0).save(file)
    rows = [{"bytes": content, "path": None} for content in (file.read_bytes(), b"text", file.read_bytes() + b" ")]
    pq.write_table(pa.table({"image": rows, "label": ["x", "x", "y"]}), tmp_path / "d.parquet")
    code, out, err = skipway("check", "d.parquet", "--bad", "quarantine")
    assert (code, out) == (2, "")
    assert "d.parquet is not one: use --bad skip" in err
    code, out, _ = skipway("check", "d.parquet")
    assert code == 1
    assert "d.parquet[1]: is text" in out


def test_the_python_verb_checks_too_and_none_says_that_it_was_done(folder: Path, tmp_path: Path) -> None:
    from skipway.data.quality.validate import check_dataset
    from skipway.errors import DataError

    cut(folder / "a" / "2.png")
    dataset = open_dataset(str(folder))
    recipe = find_recipe("quick")
    with pytest.raises(DataError, match="--bad skip trains without them"):
        train.train(dataset, recipe, tmp_path / "run")
    with pytest.raises(DataError, match=r"^a/2\.png cannot be read"):
        train.train(dataset, recipe, tmp_path / "run", bad=None)
    assert check_dataset(dataset).reused


def test_labels_come_from_names_by_a_pattern(skipway: Skipway, folder: Path) -> None:
    for i in range(6):
        picture(i).save(folder.parent / f"{('pug', 'great_dane')[i % 2]}_{i}.png")
    code, out, err = skipway("check", ".", "--label-pattern", r"([a-z_]+)_\d+\.png")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "finds no class in the names of 8 of 14 images in " in err
    for file in folder.rglob("*.png"):
        file.unlink()
    code, out, err = skipway("check", ".", "--label-pattern", r"([a-z_]+)_\d+\.png", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["counts"] == {"train": {"great_dane": 3, "pug": 3}}
    code, out, err = skipway("check", ".", "--label-pattern", "[")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--label-pattern '[' is not a regular expression" in err


def test_labels_come_from_the_chosen_column(skipway: Skipway, folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    lines = [f"{file},{'xyz'[i % 3]},{i % 2}" for i, file in enumerate(files)]
    Path("set.csv").write_text("\n".join(["path,breed,size", *lines]) + "\n")
    code, out, err = skipway("check", "set.csv")
    assert (code, out) == (2, "")
    assert "--label-column" in err
    counts = json.loads(skipway("check", "set.csv", "--label-column", "breed", "--json")[1])["counts"]
    assert counts == {"train": {"x": 3, "y": 3, "z": 2}}
    code, out, err = skipway("check", "set.csv", "--label-column", "bread")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "unknown label column 'bread': did you mean 'breed'? set.csv has columns path, breed, size" in err


def test_what_the_check_before_a_training_says_to_run_reads_the_data_as_the_training_did(folder: Path) -> None:
    for name in ("a 1", "a 2", "b 5"):
        picture(int(name[-1])).save(folder / f"{name}.png")
    picture(1).save(folder / "a" / "a 3.png")
    for file in folder.rglob("[0-9].png"):
        file.unlink()
    console = Console(record=True, width=1000, file=io.StringIO())
    reading = ReadOptions(label_pattern=r"(.) \d+\.png")
    check.check_for_training(open_dataset(str(folder), reading), "error", console=console)
    command = re.search("`(.+)` tells all of it", console.export_text()).group(1)
    assert shlex.split(command) == ["skipway", "check", str(folder), "--label-pattern", r"(.) \d+\.png"]


CELLS = [
    Picture("a", 60, 48, [("zebra", 5, 5, 25, 30), ("ant", 1, 1, 21, 20)]),
    Picture("b", 60, 48, [("zebra", 10, 8, 30, 28), ("ant", 20, 10, 50, 36)]),
    Picture("c", 40, 44, []),
]


def inverted(root: Path) -> None:
    file = root / "Annotations" / "b.xml"
    file.write_text(file.read_text().replace("<xmin>11<", "<xmin>31<"))


def test_boxes_are_counted_measured_and_drawn(skipway: Skipway, tmp_path: Path) -> None:
    write_voc(CELLS, tmp_path / "cells")
    code, out, err = skipway("check", "./cells", "--size", "64", "--preview", "sheet.png")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["images", "with", "train"] in lines
    assert ["no", "objects", "1"] in lines
    assert ["ant", "2", "2", "0", "0", f"{(380**0.5 + 780**0.5) / 2:.1f}", "px"] in lines
    assert "on, nine of ten objects cover a cell of 8 x 8 pixels" in out
    assert "note: no objects, 1" in out
    with Image.open("sheet.png") as sheet:
        assert sheet.width >= 6 + 2 * (64 + 6)


def test_a_wrong_box_ends_in_1_and_stops_a_training_with_one_line(skipway: Skipway, tmp_path: Path) -> None:
    inverted(write_voc(CELLS, tmp_path / "cells"))
    code, out, _ = skipway("check", "./cells")
    assert code == 1
    assert "fault: inverted box, 1 training stops; --bad skip leaves the image out" in out
    assert "  JPEGImages/b.png: Annotations/b.xml line 4: xmin 31 is above xmax 30" in out
    code, out, err = skipway("train", "./cells", "--epochs", "1", "--device", "cpu", "--out", "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cells has images with wrong annotations, 1 in all, the first: JPEGImages/b.png: Annotations/b.xml" in err
    assert not Path("run").exists()
    code, out, err = skipway("check", "./cells", "--bad", "quarantine")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "which the annotations of cells would still name: use --bad skip" in err


def test_a_wrong_box_is_skipped_and_corrections_are_one_line(tmp_path: Path) -> None:
    root = write_voc(CELLS, tmp_path / "cells")
    inverted(root)
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<xmax>25<", "<xmax>6<").replace("<xmin>2<", "<xmin>-3<"))
    console = Console(record=True, width=1000, file=io.StringIO())
    kept = check.check_for_training(open_dataset(str(root)), "skip", console=console)
    said = console.export_text()
    assert "left out 1 images that cannot be read (--bad skip)" in said
    assert "annotations corrected: 1 clipped box, 1 box without area" in said
    assert [name for name, _ in kept.left_out] == ["JPEGImages/b.png"]
    assert kept.bad_annotations == ()
    assert kept.train.names == ["JPEGImages/a.png", "JPEGImages/c.png"]


def test_the_format_of_boxes_is_chosen_by_an_option(skipway: Skipway, tmp_path: Path) -> None:
    write_voc(CELLS, tmp_path / "cells")
    (tmp_path / "cells" / "instances.json").write_text(json.dumps(coco_dict(CELLS[:2])))
    code, out, err = skipway("check", "./cells")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "annotations in the formats voc and coco: choose one by --format" in err
    for name, images in (("voc", 3), ("coco", 2)):
        assert json.loads(skipway("check", "./cells", "--format", name, "--json")[1])["images"] == images
    assert "did you mean 'coco'" in skipway("check", "./cells", "--format", "cocoa")[2]


def test_a_class_that_a_split_lacks_is_counted_as_0_there(skipway: Skipway, tmp_path: Path) -> None:
    for i, place in enumerate(("train/a", "train/a", "train/b", "train/b", "val/a", "val/a")):
        file = tmp_path / "set" / place / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(file)
    _, out, _ = skipway("check", "./set")
    assert ["b", "2", "0"] in [line.split() for line in out.splitlines()]


def narrow() -> Console:
    return Console(record=True, width=30, file=io.StringIO())


def test_what_is_said_of_data_before_a_training_stays_on_its_line_however_narrow_the_terminal(tmp_path: Path) -> None:
    root = write_voc(CELLS, tmp_path / "cells")
    inverted(root)
    console = narrow()
    check.check_for_training(open_dataset(str(root)), "skip", console=console)
    lines = console.export_text().splitlines()
    assert "  inverted box: JPEGImages/b.png: Annotations/b.xml line 4: xmin 31 is above xmax 30" in lines
    assert not [line for line in lines if "tells all of it" in line], "there is no more to tell than was told"


def test_what_masks_were_taken_for_stays_on_its_line_however_narrow_the_terminal() -> None:
    remark = "values of masks are indices of classes.txt, and 255 is ignored"
    console = narrow()
    print_masks(MaskTable({"train": {"road": 3, "sky": 1}}, {"train": 4}, (remark,)), console)
    lines = console.export_text().splitlines()
    assert lines[-1] == remark
    assert ["road", "75.00%"] in [line.split() for line in lines]
    assert ["ignored", "50.00%"] in [line.split() for line in lines]
