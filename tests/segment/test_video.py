"""Label maps of a video's frames are those of the same images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapes import labelled_shapes
from typer.testing import CliRunner
from videos import write_video

import skipway
from skipway.cli import app

from .conftest import CPU


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mov", list(labelled_shapes().train.items)[1:11])


@pytest.mark.parametrize("tiles", [False, True])
def test_the_label_map_of_every_frame_is_that_of_its_image(
    tiles: bool, learnt: Path, pictures: list[Path], clip: Path
) -> None:
    predictor = skipway.Predictor(learnt, CPU)
    found, wanted = (list(predictor.predict(given, tiles=tiles)) for given in (clip, pictures[1:11]))
    assert [one.name for one in found] == [f"{clip}#{i}" for i in range(10)]
    assert all(np.array_equal(one.labels, other.labels) for one, other in zip(found, wanted, strict=True))
    assert len(np.unique(np.stack([one.labels for one in found]))) == 3


def test_masks_and_overlays_have_the_number_of_the_frame(learnt: Path, clip: Path, tmp_path: Path) -> None:
    masks, drawn = tmp_path / "masks", tmp_path / "drawn"
    said = CliRunner().invoke(app, ["predict", str(learnt), str(clip), "--masks", str(masks), "--draw", str(drawn)])
    assert said.exit_code == 0, said.output
    files = sorted(masks.iterdir())
    assert [file.name for file in files] == [f"clip-{i:06d}.png" for i in range(10)]
    assert [file.stem for file in sorted(drawn.iterdir())] == [file.stem for file in files]
    for file, one in zip(files, skipway.Predictor(learnt, CPU).predict(clip), strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), one.labels)
