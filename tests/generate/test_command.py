"""`skipway generate` as people type it: its files, its answers, and what it says to wrong input."""

import json
from pathlib import Path

import numpy as np
import pytest
from generated import write_generator
from PIL import Image, ImageSequence
from typed import Skipway, command_line, refused

import skipway as package
from skipway.commands.generate import generate
from skipway.hardware import decide
from skipway.tasks.generate.grid import GAP

SHORT = ("--steps", "2", "--solver", "euler", "--device", "cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("runs") / "animals")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without classes, in colour and alpha, not square."""
    return write_generator(tmp_path_factory.mktemp("runs") / "plain", [], 4, (6, 10))


@pytest.fixture
def skipway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Skipway:
    """Runs a command line in a new folder; gives its exit code, standard output and standard error."""
    return command_line(monkeypatch, capsys, tmp_path)


def opened(file: str) -> tuple[np.ndarray, dict[str, str]]:
    with Image.open(file) as image:
        return np.asarray(image), dict(image.text)


def lines(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_by_default_a_grid_of_every_class_is_named_after_run_and_seed(skipway: Skipway, run: Path) -> None:
    code, out, err = skipway("generate", str(run), "--seed", "3", *SHORT)
    assert (code, out, err) == (0, "63 images: animals-3.png\n", "")
    pixels, text = opened("animals-3.png")
    assert pixels.shape == (9 * 64 + 8 * GAP, 7 * 64 + 6 * GAP)  # grey; three rows of 7 for each of three classes
    assert (text["index"], text["class"], text["seed"]) == ("0-62", "ape, bee, cat", "3")
    assert (text["guidance"], text["steps"], text["solver"]) == ("1.5", "2", "euler")
    images = generate(run, n=63, seed=3, steps=2, solver="euler", hardware=decide("cpu"))
    cells = [
        pixels[row * 66 : row * 66 + 64 : 8, column * 66 : column * 66 + 64 : 8]
        for row in (0, 3, 6)
        for column in range(7)
    ]
    ordered = [image for label in ("ape", "bee", "cat") for image in images if image.label == label]
    for place, cell in zip([*range(7), *range(21, 28), *range(42, 49)], cells, strict=True):
        assert np.array_equal(cell, ordered[place].pixels[..., 0])


def test_a_folder_gets_a_png_an_image_with_the_pixels_of_python(skipway: Skipway, run: Path) -> None:
    arguments = ("generate", str(run), "--class", "cat", "--class", "none", "--guidance", "1", "--out", "new/", *SHORT)
    code, out, err = skipway(*arguments, "--n", "4", "--json")
    assert (code, err) == (0, "")
    answers = lines(out)
    assert [answer["file"] for answer in answers] == [
        "new/cat-0.png",
        "new/none-1.png",
        "new/cat-2.png",
        "new/none-3.png",
    ]
    assert [(answer["index"], answer["class"]) for answer in answers] == [(0, "cat"), (1, None), (2, "cat"), (3, None)]
    expected = package.generate(run, ["cat", "none"], 4, guidance=1, steps=2, solver="euler", hardware=decide("cpu"))
    for answer, image in zip(answers, expected, strict=True):
        pixels, text = opened(str(answer["file"]))
        assert np.array_equal(pixels, image.pixels[..., 0])
        assert text == image.text()
    assert skipway(*arguments, "--n", "2", "--first", "4")[0] == 0  # more of them
    assert len(list(Path("new").iterdir())) == 6


def test_class_folders_are_a_data_set_to_train_on(skipway: Skipway, run: Path) -> None:
    assert skipway("generate", str(run), "--n", "6", "--class-folders", "--out", "set", *SHORT)[0] == 0
    files = sorted(str(file) for file in Path("set").rglob("*.png"))
    assert files == [
        f"set/{name}/{i}.png"
        for name, i in zip(("ape",) * 2 + ("bee",) * 2 + ("cat",) * 2, (0, 3, 1, 4, 2, 5), strict=True)
    ]
    dataset = package.open_dataset("set")
    assert dataset.classes == ("ape", "bee", "cat")


@pytest.mark.parametrize("name", ["way.gif", "way.webp"])
def test_an_animation_shows_the_path_and_ends_at_the_grid(skipway: Skipway, run: Path, name: str) -> None:
    arguments = ("generate", str(run), "--class", "bee", "--n", "4", "--steps", "5", "--solver", "euler")
    assert skipway(*arguments, "--out", name)[0] == skipway(*arguments, "--out", "grid.png")[0] == 0
    with Image.open(name) as animation:
        frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(animation)]
        info = animation.info.get("comment") or animation.getexif()[0x010E]
    assert json.loads(info)["class"] == "bee"
    assert len(frames) == 6
    assert np.array_equal(frames[-1], opened("grid.png")[0])
    assert not np.array_equal(frames[0], frames[-1])


def test_an_interpolation_is_a_grid_or_an_animation_of_its_images(skipway: Skipway, run: Path) -> None:
    arguments = ("generate", str(run), "--class", "bee", "--interpolate", "3", *SHORT)
    assert skipway(*arguments, "--out", "way.webp")[1] == "5 images: way.webp\n"
    with Image.open("way.webp") as animation:
        assert animation.n_frames == 5
    assert skipway(*arguments, "--n", "3")[1] == "9 images: animals-0.png\n"
    pixels = opened("animals-0.png")[0]
    assert pixels.shape == (2 * 64 + GAP, 5 * 64 + 4 * GAP)  # a row for each way
    assert np.array_equal(pixels[:64, -64:], pixels[-64:, :64])  # the second image ends one and starts the other


def test_given_images_come_back_are_filled_in_or_lose_their_noise(skipway: Skipway, run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = [rng.integers(100, 156, (8, 8), dtype=np.uint8) for _ in range(2)]
    for i, pixels in enumerate(given):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:3] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    base = ("generate", str(run), "--from", "0.png")
    code, out, _ = skipway(*base, "--mask", "mask.png", "--n", "3", "--json", "--out", "filled", *SHORT)
    assert code == 0
    assert [answer["file"] for answer in lines(out)] == [f"filled/none-{i}.png" for i in range(3)]
    for answer in lines(out):
        pixels, text = opened(str(answer["file"]))
        assert np.array_equal(pixels[3:], given[0][3:])
        assert text["from"] == "0.png"
    assert skipway(*base, "--from", "1.png", "--noise-level", "20", "--out", "clean", *SHORT)[0] == 0
    assert sorted(file.name for file in Path("clean").iterdir()) == ["none-0.png", "none-1.png"]
    assert opened("clean/none-0.png")[1]["noise level"] == "20"
    assert skipway(*base, "--from", "1.png", "--interpolate", "2", "--out", "way", *SHORT)[0] == 0
    assert len(list(Path("way").iterdir())) == 4
    assert skipway(*base, "--out", "back.png", *SHORT)[1] == "1 image: back.png\n"


def test_alpha_is_kept_and_gifs_of_it_are_refused(skipway: Skipway, plain: Path) -> None:
    assert skipway("generate", str(plain), "--n", "2", "--out", "each", *SHORT)[0] == 0
    with Image.open("each/none-1.png") as image:
        assert (image.mode, image.size) == ("RGBA", (10, 6))
    refused(skipway("generate", str(plain), "--n", "2", "--out", "way.gif", *SHORT), "give a name that ends in .webp")


def test_nothing_is_replaced(skipway: Skipway, run: Path) -> None:
    arguments = ("generate", str(run), "--n", "1", "--out")
    assert skipway(*arguments, "one.png", *SHORT)[0] == skipway(*arguments, "each/", *SHORT)[0] == 0
    before = Path("one.png").read_bytes(), Path("each/ape-0.png").read_bytes()
    refused(skipway(*arguments, "one.png", "--seed", "1", *SHORT), "one.png exists: choose another --out")
    refused(
        skipway(*arguments, "each", "--seed", "1", *SHORT), "each/ape-0.png exists: choose another --out or --first"
    )
    assert (Path("one.png").read_bytes(), Path("each/ape-0.png").read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--class", "bea"), "unknown class 'bea': did you mean 'bee'"),
        (("--n", "0"), "n is 0: ask for at least 1 image"),
        (("--n", "1000001", "--out", "x/"), "at most 1,000,000 images"),
        (("--n", "5000"), "5,000 images are too many for one grid of at most 4,096: give --out FOLDER/"),
        (("--n", "300", "--out", "x.gif"), "300 images are too many for an animation"),
        (("--steps", "0"), "0 steps"),
        (("--solver", "huen"), "unknown solver 'huen': did you mean 'heun'"),
        (("--grid", "rho"), "unknown time grid 'rho': did you mean 'rho7'"),
        (("--guidance", "-1"), "guidance -1"),
        (("--interval", "0.5"), "--interval 0.5: give two times from 0 to 1"),
        (("--interval", "0.8,0.2"), "times 0.8 to 0.2"),
        (("--engine", "warp"), "unknown engine 'warp'"),
        (("--out", "x.jpg"), "--out x.jpg: give .png, .gif, .webp, a folder"),
        (("--out", "nowhere/x.png"), "there is no folder nowhere"),
        (("--out", "file/x"), "file/x cannot be written"),
        (("--class-folders",), "--class-folders with --out animals-0.png: give a folder for --out"),
        (("--mask", "mask.png"), "--mask is for a given image: add --from IMAGE"),
        (("--noise-level", "9"), "--noise-level is for a given image: add --from IMAGE"),
        (("--interpolate", "2", "--n", "1"), "--interpolate is between two images"),
        (("--from", "file"), "file is not an image"),
        (("--from", "file", "--n", "3"), "--n is not for given images"),
        (("--from", "missing.png"), "missing.png"),
        (("--from", "grey.png", "--mask", "wide.png"), "wide.png is 9 x 8 pixels, its image 8 x 8"),
        (("--from", "grey.png", "--out", "x.gif"), "x.gif: what is made of an image is no animation"),
        (("--from", "grey.png", "--noise-level", "0"), "noise of 0 levels"),
    ],
    ids=" ".join,
)
def test_wrong_input_gets_one_line_and_nothing_is_written(
    skipway: Skipway, run: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("no image")
    for name, width in (("grey", 8), ("wide", 9)):
        Image.fromarray(np.full((8, width), 200, np.uint8)).save(tmp_path / f"{name}.png")
    refused(skipway("generate", str(run), "--device", "cpu", *arguments), said)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "grey.png", "wide.png"]


def test_classes_of_a_generator_without_any_are_refused(skipway: Skipway, plain: Path, tmp_path: Path) -> None:
    said = "this generator was trained without classes: leave"
    refused(skipway("generate", str(plain), "--class", "7", *SHORT), said)
    refused(skipway("generate", str(plain), "--guidance", "2", *SHORT), said)
    refused(skipway("generate", str(plain), "--class-folders", "--out", "x/", *SHORT), "this generator has no classes")
    assert not list(tmp_path.iterdir())


def test_predict_says_that_a_generator_generates(skipway: Skipway, run: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
    refused(skipway("predict", str(run), "a.png"), "skipway generate")
