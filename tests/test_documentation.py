"""The documentation's blocks of code, run page by page, and its generated parts, complete."""

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from data.boxes import table as boxes
from data.boxes import write_coco
from data.masks import scenes, write_image, write_mask
from generated import write_generator
from PIL import Image
from typed import command_line

import skipway
from docs._ext import links, reference, studies, zoo
from docs._ext.docstrings import converted
from docs._ext.generated import GENERATED
from docs._ext.sources import MARK, expanded
from skipway import cli, data, models
from skipway.data.dataset import Dataset
from skipway.data.quality.issues import CATEGORIES
from skipway.models.pretrained.registry import WEIGHTS
from skipway.study import STUDIES
from skipway.training import autoconfig
from skipway.training.recipes import FINETUNE, QUICK, RECIPES, Recipe

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    file.relative_to(DOCS).as_posix(): file.read_text()
    for file in sorted(DOCS.rglob("*.md"))
    if "studies" not in file.parts and "_ext" not in file.parts
}
CHAPTERS = {name: text for name, text in PAGES.items() if re.match(r"understand/\d", name)}
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```(?P<language>\S*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
SHELL, PYTHON = ("bash", "sh"), ("python",)
SHOWN = ("text", "yaml", "")  # what is not for running: outputs, trees, configurations


class Block(NamedTuple):
    """A fenced block: its language, its text, and why it is not run, None for one that is."""

    language: str
    text: str
    why: str | None


def blocks(page: str) -> list[Block]:
    found = [Block(part["language"], part["text"], part["why"]) for part in FENCE.finditer(page)]
    return [block for block in found if not block.language.startswith("{")]


def runnable(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language in SHELL + PYTHON and block.why is None]


# ---------------------------------------------------------------------------------------------------------------------
# Every block is run, or says why not


def write_photographs(folder: Path) -> None:
    """What pages call photos/, new/, new.jpg, pets/ and tags.csv: pictures of two kinds that colours tell apart."""
    rng = np.random.default_rng(0)
    for kind, base in (("cats", (180, 120, 60)), ("dogs", (60, 110, 170))):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(8):
            pixels = np.clip(rng.normal(base, 40, (60, 80, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / kind / f"{i}.jpg")
    cats = folder / "photos" / "cats"
    shutil.copy(cats / "0.jpg", folder / "new.jpg")
    for name in (
        "new/1.jpg",
        "new/2.jpg",
        *(f"pets/{kind}_{i}.jpg" for kind in ("Abyssinian", "beagle") for i in "12"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(cats / f"{len(name) % 8}.jpg", folder / name)
    files = [
        f"photos/{kind}/{i}.jpg,{kind[:-1]}{';indoors' if i % 2 else ''}" for kind in ("cats", "dogs") for i in range(8)
    ]
    (folder / "tags.csv").write_text("path,labels\n" + "\n".join(files) + "\n")


def fewer_digits() -> Dataset:
    """100 digits to train on."""
    digits = data.open_digits()
    assert digits.test is not None
    return Dataset(digits.name, digits.classes, digits.train.take(np.arange(100)), test=digits.test.take(np.arange(40)))


def shortened(patch: pytest.MonkeyPatch) -> None:
    """Recipes of an epoch, digits of which there are few, and no network."""
    patch.setenv("SKIPWAY_OFFLINE", "1")
    patch.setitem(data.SOURCES, "digits", fewer_digits)
    for recipe in (QUICK, FINETUNE):
        patch.setattr(autoconfig, recipe.name.upper(), replace(recipe, epochs=1))
    patch.setattr(autoconfig, "size_for", lambda *_: 32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all data and runs that the pages speak of; the runs are those of an hour, here of a second."""
    folder = tmp_path_factory.mktemp("world")
    write_photographs(folder)
    shutil.copy(DOCS / "digit.png", folder / "digit.png")
    write_coco(boxes(6), folder / "boxes")
    for one in scenes(6):
        write_image(one, folder / "street" / "images" / f"{one.stem}.png")
        write_mask(one.labels, folder / "street" / "masks" / f"{one.stem}.png")
    write_generator(folder / "runs" / "generator", classes=["6", "7", "8"])
    with pytest.MonkeyPatch.context() as patch:
        shortened(patch)
        patch.chdir(folder)
        for name, source in (("photos", "photos"), ("second", "photos"), ("digits", "digits")):
            skipway.train(
                source, "quick", f"runs/{name}", epochs=2, batch=8, size=32 if source == "photos" else 0, val=0.2
            )
    return folder


def arguments(line: str) -> list[str]:
    """The words of a shell's line, with patterns expanded where files match."""
    words = shlex.split(line, comments=True)
    found = [sorted(path.as_posix() for path in Path().glob(word)) if "*" in word else [] for word in words]
    return [name for names, word in zip(found, words, strict=True) for name in names or [word]]


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if runnable(text)])
def test_the_blocks_of_a_page_run_in_order(
    page: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands by the function that the installed command calls; the names of a page's Python are shared."""
    folder = shutil.copytree(world, tmp_path / "page")
    chosen = runnable(PAGES[page])
    for name in re.findall(r"(?:--out |out=\")runs/(\w+)", "".join(block.text for block in chosen)):
        shutil.rmtree(folder / "runs" / name, ignore_errors=True)
    shortened(monkeypatch)
    typed = command_line(monkeypatch, capsys, folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in chosen:
        if block.language in PYTHON:
            exec(compile(block.text, page, "exec"), names)
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            command, *given = arguments(line) or ["skipway", "--help"]
            code, out, err = typed(*given)
            assert (command, code) == ("skipway", 0), f"{line}\n{out}\n{err}"


def test_each_block_has_a_language_and_only_code_says_why_it_is_not_run() -> None:
    for page, text in PAGES.items():
        for block in blocks(text):
            assert block.language in SHELL + PYTHON + SHOWN, f"{page}: {block.language}"
            assert block.why is None or block.language not in SHOWN, f"{page}: {block.text}"
    assert "".join(PAGES.values()).count("<!-- not run: ") == sum(
        block.why is not None for text in PAGES.values() for block in blocks(text)
    )


def test_most_blocks_are_run() -> None:
    code = [block for text in PAGES.values() for block in blocks(text) if block.language in SHELL + PYTHON]
    assert sum(block.why is None for block in code) > len(code) / 2 > 30


# ---------------------------------------------------------------------------------------------------------------------
# Generated parts are complete


def test_every_command_is_in_the_reference_with_its_help() -> None:
    helps = reference.command_helps()
    apps = {"skipway": cli.app, "skipway weights": cli.weights_app, "skipway study": cli.study_app}
    for name, app in apps.items():
        for command in app.registered_commands:
            assert command.callback is not None
            assert f"{name} {command.name or command.callback.__name__}" in helps
    assert "--budget TIME" in helps["skipway train"]
    assert all(f"## `{name}`" in reference.commands() for name in helps)


def test_every_verb_is_in_the_guide() -> None:
    text = "".join(page for name, page in PAGES.items() if name.startswith("guide/") or "/" not in name)
    verbs = [name.split()[1] for name in reference.command_helps() if name.count(" ") == 1]
    assert [verb for verb in verbs if not re.search(rf"skipway {verb}\b", text)] == []


def test_every_public_name_is_in_the_reference() -> None:
    text = reference.python()
    assert [name for name in skipway.__all__ if f":: skipway.{name}\n" not in f"{text}\n"] == []


@pytest.mark.parametrize("part", [reference.recipe_table, reference.recipe_sections])
def test_every_recipe_is_shown(part: Callable[[], str]) -> None:
    assert [name for name in RECIPES if f"`{name}`" not in part()] == []


def test_recipes_are_described_by_the_text_below_them_in_the_source() -> None:
    assert reference.recipe_texts().keys() == RECIPES.keys()
    assert reference.recipe_texts()["he2015-cifar"].startswith("He 2015, sec. 4.2: 64,000 iterations")


def test_every_field_of_a_recipe_is_explained() -> None:
    fields = [name for name in Recipe.__dataclass_fields__ if name != "name"]
    assert [
        name for name in fields if f"| `{name}` | `--{name.replace('_', '-')}` |" not in reference.recipe_fields()
    ] == []


def test_every_finding_of_a_check_is_explained() -> None:
    assert [name for name in CATEGORIES if f"| {name} | " not in reference.findings()] == []


def test_every_network_is_in_the_zoo_with_a_link_to_its_drawing() -> None:
    tables = zoo.network_table("224") + zoo.network_table("32")
    assert [name for name in models.list_models() if f'<a href="architecture/{name}.html">' not in tables] == []


def test_every_set_of_weights_is_in_the_zoo() -> None:
    assert [name for name in WEIGHTS if f"| `{name}` | " not in zoo.weight_tables()] == []


def test_no_network_of_the_frontier_is_beaten_by_another_at_lower_cost() -> None:
    known = [row for row in zoo.rows() if row["test"] == "ImageNet, 1 crop"]
    shown = [row for row in known if f"architecture/{row['name']}.html" in zoo.frontier()]
    for row in shown:
        cheaper = [other for other in known if other["multiply_adds"] <= row["multiply_adds"]]
        assert row["top1_error"] == min(other["top1_error"] for other in cheaper)


def test_a_verdict_is_shown_for_each_claim_of_a_study() -> None:
    """The same as on the study's own page."""
    page = (DOCS / "studies" / "batchnorm.md").read_text()
    shown = studies.verdicts("batchnorm")
    for claim in STUDIES["batchnorm"].claims:
        row = next(line for line in page.splitlines() if line.startswith(f"| {claim.sentence} |"))
        assert f"| {claim.sentence} | {row.strip('| ').split(' | ')[-1]} |" in shown


def test_every_page_asks_only_for_what_can_be_generated() -> None:
    asked = {found[1] for text in PAGES.values() for found in MARK.finditer(text)}
    assert asked == set(GENERATED)
    with pytest.raises(KeyError):
        expanded("<!-- generated: nothing-such -->")


# ---------------------------------------------------------------------------------------------------------------------
# The course


def test_the_course_has_eight_chapters_that_name_their_studies_and_have_an_exercise() -> None:
    assert len(CHAPTERS) == 8
    for name, text in CHAPTERS.items():
        shown = set(re.findall(r"generated: verdicts (\w+)", text))
        assert shown and shown <= STUDIES.keys(), name
        assert all(f"](../studies/{study}.md)" in text for study in shown), name
        assert any(f"](../studies/{study}.png)" in text for study in shown), name
        assert "## Exercise" in text and ":::{dropdown} Answer" in text, name
        assert runnable(text), name


def test_every_study_is_in_the_course() -> None:
    named = {study for text in CHAPTERS.values() for study in re.findall(r"\]\(\.\./studies/(\w+)\.md\)", text)}
    assert named == STUDIES.keys()


# ---------------------------------------------------------------------------------------------------------------------
# What builds the pages


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">x</a><a href="b.html#lost">x</a><img src="no.png"><script src="//example.org/x.js">'
    )
    (tmp_path / "b.html").write_text('<p id="there"><a href="https://example.org/">elsewhere</a></p>')
    wrong, followed = links.broken(tmp_path)
    assert wrong == [
        "a.html: //example.org/x.js is loaded from another host",
        "a.html: b.html#lost has no such anchor",
        "a.html: no.png leads nowhere",
    ]
    assert followed == 3


def test_docstrings_become_markup_with_nothing_but_code() -> None:
    lines = ["Takes `x_` and *args.", "", "    import skipway", "", "Done:", "- an item", "  of two lines"]
    made = [
        "Takes ``x_`` and \\*args.",
        "",
        "::",
        "",
        "    import skipway",
        "",
        "Done:",
        "",
        "- an item",
        "  of two lines",
        "",
    ]
    assert converted(lines) == made
