"""`skipway predict`, `export` and `bench` as people type them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import write_bundle

from skipway.deploy.engines import selection
from skipway.deploy.predict import writer
from skipway.tasks.classify.prediction import ClassPrediction
from skipway.tasks.classify.present import ClassPresenter


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("runs") / "net")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    (tmp_path / "new").mkdir()
    rng = np.random.default_rng(0)
    files = [tmp_path / "new" / f"{i:02d}.png" for i in range(40)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (18, 20, 3), dtype=np.uint8)).save(file)
    return files


def test_paths_come_from_standard_input_too(skipway, net: Path, photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("new/03.png\nnew/01.png\n"))
    code, out, _ = skipway("predict", str(net), "-", "--json", "--top", "1")
    assert code == 0
    assert [json.loads(line)["image"] for line in out.splitlines()] == ["new/03.png", "new/01.png"]


def test_csv_has_the_first_class_and_then_the_others(skipway, net: Path, photos) -> None:
    (photos[1]).write_text("no image")
    code, out, err = skipway("predict", str(net), "new", "--csv", "out.csv", "--top", "2")
    assert (code, out) == (1, "")
    assert "1 of 40 images" in err
    assert "01.png is not an image" in err
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == [f"new/{file.name}" for file in photos]
    assert list(rows[0]) == ["image", "class", "probability", "class_2", "probability_2"]
    assert set(rows[1].values()) == {"new/01.png", ""}
    assert float(rows[0]["probability"]) >= float(rows[0]["probability_2"]) > 0
    assert sorted(p.name for p in Path().iterdir()) == ["new", "out.csv"]


def test_no_column_of_a_csv_is_empty_where_the_classes_are_fewer_than_asked_for(skipway, net: Path, photos) -> None:
    assert skipway("predict", str(net), "new", "--csv", "out.csv", "--top", "9")[0] == 0
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert len(rows[0]) == 1 + 2 * 4  # the network's four classes
    assert all(value for row in rows for value in row.values())


def test_an_interrupted_csv_is_not_taken_for_a_whole_one(skipway, net: Path, photos, tmp_path: Path) -> None:
    def broken():
        yield ClassPrediction("a.png", classes=(("ant", 0.5),))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write_csv(broken(), ClassPresenter(), tmp_path / "out.csv", 1)
    assert not (tmp_path / "out.csv").exists()
    assert "a.png,ant,0.5" in (tmp_path / "out.csv.unfinished").read_text()
    code, _, err = skipway("predict", str(net), "new", "--csv", "out.csv")
    assert code == 2
    assert "out.csv.unfinished is what an earlier run left" in err


def test_a_long_table_has_one_heading_and_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    many = (ClassPrediction(f"{i}.png", classes=(("ant", 0.75), ("bee", 0.25))) for i in range(writer.ROWS * 2 + 5))
    count = writer.print_table(many, ClassPresenter(), Console(width=100))
    lines = capsys.readouterr().out.splitlines()
    assert count == writer.Count(writer.ROWS * 2 + 5, 0)
    assert sum(line.startswith("image") for line in lines) == 1
    assert len(lines) == writer.ROWS * 2 + 6
    assert "75.00 %" in lines[-1]


def test_processes_of_torchrun_write_parts_that_make_up_the_whole(skipway, net: Path, photos, monkeypatch) -> None:
    skipway("predict", str(net), "new", "--csv", "whole.csv")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert skipway("predict", str(net), "new", "--csv", "out.csv")[0] == 0
    parts = [Path(f"out.part-{i}-of-2.csv").read_text().splitlines()[1:] for i in range(2)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == sorted(Path("whole.csv").read_text().splitlines()[1:])
    for wrong in (("new", "--json"), ("-", "--csv", "other.csv")):
        code, _, err = skipway("predict", str(net), *wrong)
        assert code == 2
        assert "2 processes would mix their answers" in err


def test_auto_says_what_it_measured_and_remembers_it(skipway, net: Path, photos, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(selection, "SECONDS", 0.0)
    monkeypatch.setattr(
        selection, "ENGINES", {k: v for k, v in selection.ENGINES.items() if k in ("eager", "cuda-graphs")}
    )
    code, out, err = skipway("predict", str(net), "new", "--engine", "auto", "--json", "--device", "cpu")
    assert code == 0
    assert len(out.splitlines()) == 40
    assert "16 of the images given" in err
    assert "left out, cuda-graphs needs a CUDA device" in err
    again = skipway("predict", str(net), "new", "--engine", "auto", "--json", "--device", "cpu")
    assert again == (0, out, "")


def test_what_cannot_be_is_refused_in_one_line(skipway, net: Path, photos) -> None:
    for arguments, said in (
        (("predict", str(net), "new", "--engine", "tensorrt"), "unknown engine 'tensorrt'"),
        (("predict", str(net), "new", "--engine", "int8"), "int8 was not exported"),
        (("predict", str(net), "nothing/*.png"), "nothing/*.png has no image"),
        (("predict", str(net), "new", "--csv", "no/such/out.csv"), "there is no folder no/such"),
        (("export", str(net), "--format", "tflite"), "unknown format 'tflite'"),
        (("export", str(net), "--images", "nowhere"), "none of the 1 images given"),
        (("export", str(net), "--int8", "--format", "onnx"), "give --format openvino"),
        (("bench", "resnet5"), "unknown model 'resnet5'"),
    ):
        code, out, err = skipway(*arguments)
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1
        assert said in err


def test_export_prints_its_evidence(skipway, net: Path, tmp_path: Path) -> None:
    code, out, _ = skipway("export", str(net), "--format", "torch", "--out", "exported")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()[:3]] == ["batch 1", "batch 2", "batch 7"]
    assert out.splitlines()[-2] == "outputs scores, probabilities; probabilities = softmax(scores / 1.7)"
    assert (tmp_path / "exported" / "evidence.json").is_file()


def test_bench_names_every_engine_for_both_goals(skipway, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {k: v for k, v in selection.ENGINES.items() if k in ("eager", "folded", "int8")}
    monkeypatch.setattr(selection, "ENGINES", few)
    code, out, _ = skipway("bench", str(net), "--seconds", "0", "--json", "--device", "cpu")
    found = json.loads(out)
    assert code == 0
    assert [(row["goal"], row["engine"]) for row in found["rows"]] == [
        (goal, engine) for goal in ("throughput", "latency") for engine in few
    ]
    assert {row["verdict"] for row in found["rows"]} == {"agrees", "missing"}
    _, out, _ = skipway("bench", str(net), "--seconds", "0", "--device", "cpu")
    assert "images/s" in out
