"""A TIFF file of several pages and a zip archive are their images: each gets the answer of the same image by itself."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from skipway.cli import app
from skipway.deploy.predict.pages import item_called, page_of, pages_in
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.predict.video import stem_of
from skipway.hardware import decide


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three images of different sizes and modes."""
    folder, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    found = []
    for i, (mode, size) in enumerate((("RGB", (40, 30)), ("L", (28, 28)), ("RGBA", (20, 50)))):
        pixels = rng.integers(0, 256, (*size, len(mode)), dtype=np.uint8)
        Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels, mode).save(folder / f"{i}.png")
        found.append(folder / f"{i}.png")
    return found


@pytest.fixture(scope="module")
def scan(images: list[Path]) -> Path:
    first, *others = [Image.open(file) for file in images]
    first.save(images[0].with_name("scan.tif"), save_all=True, append_images=others)
    return images[0].with_name("scan.tif")


@pytest.fixture(scope="module")
def archive(images: list[Path]) -> Path:
    file = images[0].with_name("photos.zip")
    with zipfile.ZipFile(file, "w") as made:
        for image in images:
            made.write(image, f"in/{image.name}")
        made.writestr("in/broken.png", b"no image")
    return file


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(run, decide("cpu", workers=2))


def test_every_page_gets_the_answer_of_the_same_image(predictor: Predictor, scan: Path, images: list[Path]) -> None:
    found, wanted = list(predictor.predict(scan)), list(predictor.predict(images))
    assert [one.name for one in found] == [f"{scan}#{i}" for i in range(3)]
    assert [replace(one, name="") for one in found] == [replace(one, name="") for one in wanted]
    single = scan.with_name("single.tif")
    Image.open(images[0]).save(single)
    assert replace(predictor.predict(single), name="") == replace(wanted[0], name="")


def test_images_of_an_archive_get_theirs_and_a_broken_one_its_line(
    predictor: Predictor, archive: Path, images: list[Path]
) -> None:
    broken, *found = list(predictor.predict([archive]))[::-1]
    assert broken.name == f"{archive}/in/broken.png"
    assert broken.error.startswith(f"{archive}/in/broken.png is not an image")
    assert [replace(one, name="") for one in found[::-1]] == [
        replace(one, name="") for one in predictor.predict(images)
    ]


def test_json_has_the_page_and_drawings_find_it_again(run: Path, scan: Path, archive: Path, images: list[Path]) -> None:
    said = CliRunner().invoke(app, ["predict", str(run), str(scan), str(images[0]), str(archive), "--json"])
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert [row.get("page") for row in rows[:4]] == [0, 1, 2, None]
    assert said.exit_code == 1, "one image of the archive is broken"
    preprocessing = Predictor(run, decide("cpu")).preprocessing
    assert np.array_equal(
        item_called(f"{scan}#1", preprocessing).squeeze(),
        np.asarray(Image.open(images[1]).convert("RGB" if preprocessing.channels == 3 else "L")),
    )
    assert item_called(f"{archive}/in/0.png", preprocessing) == images[0].read_bytes()
    assert stem_of(f"{scan}#2") == "scan-000002"
    assert page_of("photo#3.jpg") is None


def test_a_hostile_archive_is_one_line_among_the_answers(
    predictor: Predictor, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    bad, good = predictor.predict([tmp_path / "x.zip", images[0]])
    assert bad.error.startswith(f"{tmp_path / 'x.zip'} is not a zip archive") and not good.error


@pytest.mark.filterwarnings("ignore")  # of Pillow about the file that is cut
def test_pages_are_counted_in_files_alone_that_have_some(scan: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cut.tif").write_bytes(scan.read_bytes()[:300])
    (tmp_path / "text.tif").write_text("no image")
    assert [pages_in(file) for file in (scan, images[0], tmp_path / "no.tif", tmp_path / "text.tif")] == [3, 1, 1, 1]
    assert pages_in(tmp_path / "cut.tif") in (1, 2, 3)
