"""Objects of a video's frames are those of the same images, in every form."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapes import shapes
from typer.testing import CliRunner
from videos import write_video

import skipway
from skipway.cli import app

from .conftest import CPU


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mov", list(shapes().train.items)[1:11])


@pytest.mark.parametrize("tiles", [False, True])
def test_the_objects_of_every_frame_are_those_of_its_image(
    tiles: bool, learnt: Path, pictures: list[Path], clip: Path
) -> None:
    predictor = skipway.Predictor(learnt, CPU)
    found, wanted = (list(predictor.predict(given, tiles=tiles)) for given in (clip, pictures[1:11]))
    assert [one.name for one in found] == [f"{clip}#{i}" for i in range(10)]
    assert [one.objects for one in found] == [one.objects for one in wanted]
    assert sum(len(one.objects) for one in found) >= 10


def test_files_name_the_frames_and_drawings_are_of_their_pixels(
    learnt: Path, pictures: list[Path], clip: Path, tmp_path: Path
) -> None:
    def run(*options: str) -> None:
        said = CliRunner().invoke(app, ["predict", str(learnt), *options])
        assert said.exit_code == 0, said.output

    run(str(clip), "--csv", str(tmp_path / "out.csv"), "--draw", str(tmp_path / "drawn"))
    run(*map(str, pictures[1:11]), "--coco", str(tmp_path / "images.json"), "--draw", str(tmp_path / "images"))
    run(str(clip), "--coco", str(tmp_path / "clip.json"))
    names = [f"{clip}#{i}" for i in range(10)]
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert list(dict.fromkeys(row["image"] for row in csv.DictReader(stream))) == names
    of_clip, of_images = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("clip", "images"))
    assert [image["file_name"] for image in of_clip["images"]] == names
    assert of_clip["annotations"] == of_images["annotations"]
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [file.name for file in drawn] == [f"clip-{i:06d}.jpg" for i in range(10)]
    for file, other in zip(drawn, sorted((tmp_path / "images").iterdir()), strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(other)))
