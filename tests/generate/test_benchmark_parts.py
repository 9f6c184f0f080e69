"""The parts of results/generation.json are measured one at a time: what one writes leaves the others as they are."""

import json
from pathlib import Path

import pytest

from benchmarks import generation, harness
from benchmarks.provenance import hashes


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with two sets, of which one has more than its figures, and a note."""
    for module in (generation, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    before = {
        "name": "generation",
        "sets": {"digits": {"figures": {"copies": 1}, "quiet": {"seconds": 120}}, "mnist": {"figures": {"copies": 2}}},
        "commit": "abc1234",
        "note": "of all",
    }
    file = tmp_path / "generation.json"
    file.write_text(json.dumps(before))
    return file


def test_the_figures_of_a_set_replace_those_of_that_set_alone(file: Path) -> None:
    generation.keep({"figures": {"copies": 3}}, "digits")
    found = json.loads(file.read_text())
    measured = found["sets"]["digits"]
    assert (measured["figures"], measured["quiet"]) == ({"copies": 3}, {"seconds": 120})
    assert measured["code"] == hashes("generation")
    assert found["sets"]["mnist"] == {"figures": {"copies": 2}}
    assert (found["note"], found["commit"]) == ("of all", "abc1234")


@pytest.mark.parametrize("place", [("sets", "digits", "score"), ("starts", "cifar")])
def test_what_is_measured_beside_the_sets_has_a_commit_of_its_own_and_changes_nothing_else(
    file: Path, place: tuple[str, ...]
) -> None:
    before = json.loads(file.read_text())
    generation.keep_beside({"accuracy": 98}, *place)
    found = json.loads(file.read_text())
    within = found
    for key in place[:-1]:
        within = within[key]
    added = within.pop(place[-1])
    assert added["accuracy"] == 98 and added["commit"] and added["date"]
    found.pop("starts", None)
    assert found == before
