"""`skipway explain`: its pictures, its answers, and what it says to wrong input."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from twins import shaken
from typed import Skipway

import skipway as package
from skipway import bundle, hardware, models
from skipway.commands.import_weights import InputOptions, import_weights
from skipway.deploy.explainer import Explainer, Explanation, heading, new_files, picture, seen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for three classes with numbers of its own, calibrated."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    net = shaken(models.build("resnet20", classes=3))
    with torch.no_grad():
        net.fc.weight.mul_(0.2)
    torch.save(net.state_dict(), folder / "net.pth")
    (folder / "names.txt").write_text("across\ndown\nslant\n")
    feeding = InputOptions(str(folder / "names.txt"), 32, 36, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    import_weights(str(folder / "net.pth"), folder / "run", "resnet20", feeding)
    bundle.seal(
        folder / "run",
        replace(bundle.read_card(folder / "run"), calibration={"temperature": 2.5, "split": "val", "n": 9}),
    )
    return folder / "run"


def test_every_image_gets_a_picture_and_the_probability_that_predict_gives(
    skipway: Skipway, run: Path, photo_folder: Path
) -> None:
    photos = [str(photo_folder / "down" / f"down-{i}.jpg") for i in range(2)]
    code, out, err = skipway("explain", str(run), *photos, "--method", "grad-cam", "--json", "--device", "cpu")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["file"] for line in lines] == ["explained/down-0.png", "explained/down-1.png"]
    predictor = package.Predictor(run, hardware.decide(device="cpu"))
    for line, answer in zip(lines, predictor.predict(photos), strict=True):
        assert line["class"] == line["predicted"] == answer.classes[0][0]
        assert line["probability"] == answer.classes[0][1]
        with Image.open(line["file"]) as picture:
            assert (picture.format, picture.mode[:3]) == ("PNG", "RGB")
            assert picture.width > picture.height > 400


def test_a_class_can_be_chosen_and_a_wrong_one_is_answered_with_the_nearest(
    skipway: Skipway, run: Path, photo_folder: Path
) -> None:
    photo = str(photo_folder / "across" / "across-0.jpg")
    for name in ("across", "down", "slant"):
        _, out, _ = skipway("explain", str(run), photo, "--method", "grad-cam", "--class", name, "--json")
        assert json.loads(out)["class"] == name
    assert sorted(p.name for p in Path().iterdir()) == ["explained", "explained-2", "explained-3"]
    for arguments, said in (
        (("--class", "slnt"), "unknown class 'slnt': did you mean 'slant'? the network knows across, down, slant"),
        (("--method", "gradcam"), "unknown method 'gradcam': did you mean 'grad-cam'?"),
    ):
        code, out, err = skipway("explain", str(run), photo, *arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert said in err
    assert not Path("explained-4").exists()


def test_an_unreadable_image_is_named_and_the_rest_explained(skipway: Skipway, run: Path, photo_folder: Path) -> None:
    Path("bad.png").write_text("no image")
    good = str(photo_folder / "down" / "down-0.jpg")
    code, out, err = skipway("explain", str(run), "bad.png", good, "missing.png", "--method", "grad-cam", "--json")
    assert code == 1
    assert [sorted(json.loads(line)) for line in out.splitlines()] == [
        ["error", "image"],
        ["class", "file", "image", "predicted", "probability"],
        ["error", "image"],
    ]
    assert "bad.png is not an image" in err
    assert "missing.png" in err
    assert "2 of 3" in err
    assert [file.name for file in Path("explained").iterdir()] == ["down-0.png"]


def test_no_file_is_replaced(skipway: Skipway, run: Path, photo_folder: Path) -> None:
    arguments = ("explain", str(run), str(photo_folder / "down" / "down-0.jpg"), "--method", "grad-cam", "--out", "out")
    assert skipway(*arguments)[0] == 0
    before = Path("out/down-0.png").read_bytes()
    code, _, err = skipway(*arguments, "--class", "slant")
    assert (code, err) == (2, "skipway: out/down-0.png exists: choose another --out\n")
    assert Path("out/down-0.png").read_bytes() == before
    Path("file").write_text("mine")
    code, _, err = skipway(*arguments[:-1], "file")
    assert code == 2
    assert err.startswith("skipway: file/down-0.png cannot be written")


def test_images_of_one_name_get_pictures_of_their_own(tmp_path: Path) -> None:
    images = [Path("a/x.png"), Path("b/x.png"), Path("x.jpg"), Path("x-2.png"), Path("y.png")]
    names = [file.name for file in new_files(images, tmp_path)]
    assert names[0] == "x.png"
    assert len(set(names)) == 5


def test_heat_is_of_the_chosen_class_and_of_the_calibrated_probability(run: Path, photo_folder: Path) -> None:
    explainer = Explainer(run, hardware.decide(device="cpu"))
    photo = photo_folder / "slant" / "slant-3.jpg"
    found = {name: explainer.explain(photo, name) for name in explainer.task.classes}
    total = sum(explanation.probability for explanation in found.values())
    assert total == pytest.approx(1)
    falls = np.stack([explanation.heat["occlusion"] for explanation in found.values()])
    np.testing.assert_allclose(falls.sum(0), 0, atol=1e-5, err_msg="what one class loses, the others win")
    for one, other in (("across", "down"), ("down", "slant")):
        assert not np.allclose(found[one].heat["grad-cam"], found[other].heat["grad-cam"])
    loaded = package.load(run)
    fitted = explainer.preprocessing.open(photo, "photo")
    with torch.no_grad():
        scores = loaded.model(explainer.preprocessing.normalised(fitted[None]))[0].numpy() / 2.5
    expected = np.exp(scores) / np.exp(scores).sum()
    for place, name in enumerate(loaded.card.classes):
        assert found[name].probability == pytest.approx(float(expected[place]), abs=1e-5)


def explanation(**given: object) -> Explanation:
    rng = np.random.default_rng(0)
    heat = {"grad-cam": np.linspace(0, 1, 144).reshape(12, 12), "occlusion": rng.uniform(-0.1, 0.4, (12, 12))}
    image = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    found = Explanation("folder/cat.png", image, "cat", 0.25, "dog", 0.75, heat)
    return replace(found, **given)  # type: ignore[arg-type]


def test_a_picture_says_the_class_its_probability_and_what_was_predicted_instead() -> None:
    assert heading(explanation()) == "cat.png\ncat: 25.00 %  (predicted dog: 75.00 %)"
    assert heading(explanation(predicted="cat", predicted_probability=0.25)) == "cat.png\ncat: 25.00 %"


def test_pictures_of_any_names_and_of_no_heat_at_all_are_drawn() -> None:
    cold = {"grad-cam": np.zeros((12, 12)), "occlusion": np.full((12, 12), -0.2)}
    for one in (
        explanation(heat=cold),
        explanation(name="a$b_{$\n\udcff.png", label="猫" * 40, predicted="$x^$"),
        explanation(heat={}),
    ):
        with Image.open(io.BytesIO(picture(one))) as drawn:
            drawn.load()
            assert drawn.height > 400


def test_images_of_other_channels_are_shown_in_grey() -> None:
    image = torch.tensor([[[10]], [[20]], [[40]], [[50]]], dtype=torch.uint8)
    assert seen(image).tolist() == [[[30, 30, 30]]]
    assert seen(image[:3]).tolist() == [[[10, 20, 40]]]
