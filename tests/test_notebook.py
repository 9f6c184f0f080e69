"""What notebooks show: rich representations that escape what they show, and the notebooks of the documentation, run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import skipway
from skipway import data
from skipway.data.dataset import Dataset
from skipway.deploy.generate.request import GeneratedImage
from skipway.reporting import notebook
from skipway.tasks.classify.prediction import ClassPrediction
from skipway.tasks.detect.prediction import Object, ObjectPrediction
from skipway.tasks.segment.prediction import SegmentPrediction

FOLDER = Path(__file__).parent.parent / "docs" / "notebook"
NOTEBOOKS = ("first_training", "own_photographs", "detection", "segmentation", "generation")
STRANGE = "<img src=x onerror=alert(1)>\x1b[31m&\"'"


class Reader(HTMLParser):
    """The text and the elements of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def photo(tmp_path: Path) -> str:
    pixels = np.full((300, 400, 3), (200, 30, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    return str(tmp_path / "photo.jpg")


def evaluation_of(kind: str) -> Any:
    """Like an evaluation, as far as its representation goes."""
    return SimpleNamespace(data=STRANGE, split="test", kind=kind)


def shown() -> dict[str, str]:
    """Everything that a notebook shows, of names that HTML and terminals must escape."""
    labels = np.zeros((30, 40), dtype=np.uint8)
    return {
        "class": ClassPrediction(STRANGE, classes=((STRANGE, 0.75), ("b", 0.25)))._repr_html_(),
        "objects": ObjectPrediction(
            STRANGE, objects=(Object(STRANGE, 0.5, (1, 2, 3, 4)),), size=(30, 40)
        )._repr_html_(),
        "segments": SegmentPrediction(STRANGE, labels=labels, classes=(STRANGE, "b"), size=(30, 40))._repr_html_(),
        "unread": ClassPrediction(STRANGE, error=STRANGE)._repr_html_(),
        "evaluation": notebook.evaluation(STRANGE, STRANGE, STRANGE, {STRANGE: 0.5, "n": 3}),
        "run": notebook.summary(STRANGE, STRANGE, [(STRANGE, STRANGE)], STRANGE, STRANGE, "a.html"),
        "generated": GeneratedImage(0, STRANGE, np.zeros((8, 8, 1), dtype=np.uint8), {})._repr_html_(),
        "network": notebook.network(torch.nn.ModuleDict({STRANGE.replace(".", ""): torch.nn.ReLU()})),
    }


@pytest.mark.parametrize("name", list(shown()))
def test_names_are_shown_as_they_are_and_control_nothing(name: str) -> None:
    page = shown()[name]
    found = Reader(page)
    assert "onerror=alert(1)>" in found.text
    assert "\x1b" not in page
    assert not [attributes for _, attributes in found.elements if "onerror" in attributes]
    assert {tag for tag, _ in found.elements} <= {
        "div",
        "b",
        "span",
        "bdi",
        "table",
        "tbody",
        "tr",
        "th",
        "td",
        "a",
        "img",
        "svg",
        "image",
        "rect",
        "text",
    }


@pytest.mark.parametrize("name", list(shown()))
def test_text_has_the_notebooks_own_colours(name: str) -> None:
    for colour in re.findall(r"(?<![-\w])(?:color|background):([^;\"]+)", shown()[name]):
        assert colour in ("inherit", "none"), "a colour of its own is unreadable in a light or in a dark notebook"


def test_a_prediction_shows_a_small_copy_of_its_photograph(photo: str) -> None:
    page = ClassPrediction(photo, classes=(("red", 0.9),))._repr_html_()
    [image] = Reader(page).all("img")
    assert str(image["src"]).startswith("data:image/jpeg;base64,")
    assert len(page) < 20_000
    assert "90.00 %" in page


def test_an_image_that_is_no_file_of_an_image_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    for name in (
        "image 0",
        "clip.mp4#3",
        str(tmp_path),
        str(tmp_path / "text.jpg"),
        str(tmp_path / "none.jpg"),
        "a\0b",
    ):
        assert "<img" not in ClassPrediction(name, classes=(("red", 0.9),))._repr_html_()


def test_boxes_are_where_they_were_found(photo: str) -> None:
    found = ObjectPrediction(photo, objects=(Object("cat", 0.9, (10, 20, 110, 220)),), size=(300, 400))
    page = Reader(found._repr_html_())
    assert page.all("svg")[0]["viewbox"] == "0 0 400 300"
    [box] = page.all("rect")
    assert [float(str(box[key])) for key in ("x", "y", "width", "height")] == [10, 20, 100, 200]


def test_the_classes_of_pixels_lie_over_their_photograph(photo: str) -> None:
    labels = np.zeros((300, 400), dtype=np.uint8)
    labels[:, 200:] = 1
    page = Reader(SegmentPrediction(photo, labels=labels, classes=("sky", "road"), size=(300, 400))._repr_html_())
    assert len(page.all("image")) == 2
    assert "50.0 %" in page.text


def test_a_network_shows_its_parts_and_all_of_its_parameters() -> None:
    net = skipway.build("resnet18", classes=7)
    page = notebook.network(net)
    assert f"{sum(p.numel() for p in net.parameters()):,} parameters" in page
    assert "layer1" in page
    assert re.search(r"2 × \w+, [\d,]+ parameters", page)
    assert len(page) < 6000


def test_ipython_shows_networks_by_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("IPython.core.formatters")
    formatter = core.DisplayFormatter()
    shell = SimpleNamespace(display_formatter=formatter)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    notebook.register()
    data, _ = formatter.format(skipway.build("resnet20"))
    assert "269,722 parameters" in data["text/html"]
    assert "text/html" not in formatter.format(torch.nn.Linear(1, 1))[0], "modules of others are as they were"


# ---------------------------------------------------------------------------------------------------------------------
# The notebooks of the documentation


def cells(name: str) -> list[dict[str, Any]]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def test_there_are_no_other_notebooks() -> None:
    assert {file.stem for file in FOLDER.glob("*.ipynb")} == set(NOTEBOOKS)


def shortened(source: str) -> str:
    """Trainings of one epoch or step."""
    return re.sub(r"\b(epochs|iterations)=\d+", r"\1=1", source)


def few_digits() -> Dataset:
    """100 digits to train on, and 20 to evaluate on, of which a generator is asked for as many."""
    digits = data.open_digits()
    assert digits.test is not None
    test = digits.test.take(np.arange(20))
    return Dataset(digits.name, digits.classes, digits.train.take(np.arange(100)), test=test)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_of_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    monkeypatch.setitem(data.SOURCES, "digits", few_digits)
    names: dict[str, Any] = {}
    sources = ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]
    assert sum(shortened(source) != source for source in sources) == 1
    for source in sources:
        exec(compile(shortened(source), name, "exec"), names)
    assert names["run"].report.is_file()


def test_a_notebook_runs_in_a_kernel_and_shows_what_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Jupyter runs it: each cell ends without an error, and progress is one output of plain lines."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    page = nbformat.read(FOLDER / "own_photographs.ipynb", as_version=4)
    nbformat.validate(page)
    for cell in page.cells:
        cell.source = shortened(cell.source) if cell.cell_type == "code" else cell.source
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(page, timeout=200, coalesce_streams=True, resources=place).execute()
    outputs = [out for cell in page.cells for out in cell.get("outputs", [])]
    printed = [out.text for out in outputs if out.output_type == "stream"]
    assert "\x1b" not in "".join(printed)
    assert len(printed) == 2, "the training's lines, and those of the last cell"
    assert sum("text/html" in out.get("data", {}) for out in outputs) == 4


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_outputs_of_a_notebook_are_kept_small_and_name_no_place_of_a_machine(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert len(text) < 150_000
    outputs = json.dumps([cell.get("outputs", []) for cell in cells(name)])
    assert "text/html" in outputs
    assert "<a " not in outputs, "the report that it leads to is not beside the notebook"
    assert not re.search(r"/(home|root|tmp|work|Users|mnt)\b", re.sub(r"base64,[\w+/=]+", "", outputs))
    assert all(cell["execution_count"] for cell in cells(name) if cell["cell_type"] == "code")
