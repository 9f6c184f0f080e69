"""The report of studies."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from studied import Tiny

from skipway.study import STUDIES
from skipway.study.engine.report import (
    BEGIN,
    END,
    fill_pages,
    filled,
    largest_of,
    overview,
    page_parts,
    png,
    write_report,
)
from skipway.study.engine.results import read_results
from skipway.study.engine.scale import SCALES

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_page_is_complete_and_loads_nothing(tiny: Tiny, tmp_path: Path) -> None:
    result = tiny("degradation")
    page = write_report(tmp_path, [result]).read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert page.count("<svg") == 1
    assert page.count("Not trained enough to tell.") == len(result.verdicts)
    for claim in STUDIES["degradation"].claims:
        assert claim.sentence in page
        assert claim.published in page
    assert result.commit in page


def test_the_same_results_give_the_same_bytes(tiny: Tiny, tmp_path: Path) -> None:
    pages = [write_report(tmp_path / name, [tiny("degradation")]).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_markdown_has_a_row_for_each_claim_and_each_network(tiny: Tiny, tmp_path: Path) -> None:
    result = tiny("degradation")
    write_report(tmp_path, [result])
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert len([line for line in lines if "**not trained enough to tell**" in line]) == len(result.verdicts)
    rows = [line for line in lines if line.startswith(("| plain", "| resnet"))]
    assert [row.split(" | ")[0] for row in rows] == [
        "| plain20",
        "| plain56",
        "| plain20, a third of the steps",
        "| resnet20",
        "| resnet56",
    ]
    assert all(line.count("|") == rows[0].count("|") for line in rows)


def test_the_number_of_seeds_is_given_once(tiny: Tiny, tmp_path: Path) -> None:
    result = tiny("degradation")
    findings = {model: [*runs, *runs] for model, runs in result.findings.items()}
    verdicts = tuple(
        replace(v, measured="plain20 1.00 ± 0.10 % (2 seeds), others' 2.00 % (1 seed)") for v in result.verdicts
    )
    page = write_report(tmp_path, [replace(result, seeds=(0, 1), findings=findings, verdicts=verdicts)]).read_text()
    for text in (page, (tmp_path / "report.md").read_text()):
        assert text.count("2 seeds") == 1
        assert "plain20 1.00 ± 0.10 %, others" in text
        assert "2.00 % (1 seed)" in text


def test_external_text_is_escaped(tiny: Tiny, tmp_path: Path) -> None:
    result = tiny("degradation")
    hostile = replace(result, data={**result.data, "note": "<script>alert(1)</script>"})
    assert "<script>" not in write_report(tmp_path, [hostile]).read_text()


def test_pages_get_results_and_keep_their_text(tiny: Tiny, tmp_path: Path) -> None:
    page = tmp_path / "degradation.md"
    page.write_text(f"# Words\n\n{BEGIN}\nold\n{END}\n\nMore words.\n")
    (tmp_path / "lesion.md").write_text("no part for results\n")
    larger = replace(tiny("degradation"), scale=SCALES["small"])
    assert fill_pages(tmp_path, [tiny("degradation"), larger]) == [page]
    text = page.read_text()
    assert text.startswith("# Words")
    assert text.endswith("More words.\n")
    assert "Scale small" in text
    assert "old" not in text
    assert fill_pages(tmp_path, [larger]) == [page]
    assert page.read_text() == text
    assert (tmp_path / "degradation.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "lesion.md").read_text() == "no part for results\n"


def test_figures_are_reproducible(tiny: Tiny) -> None:
    assert png(tiny("degradation")) == png(tiny("degradation"))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_page_with_a_part_for_results(name: str) -> None:
    text = (ROOT / "docs" / "studies" / f"{name}.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert f"skipway study {name}" in text


def test_the_overview_counts_every_verdict_and_has_a_row_for_each_claim(tiny: Tiny) -> None:
    result = tiny("degradation")
    states = ["supports", "speaks against", "no difference seen", "no difference seen", "supports", "supports"]
    verdicts = tuple(replace(v, state=state) for v, state in zip(result.verdicts, states, strict=True))
    lines = overview([replace(result, verdicts=verdicts)]).splitlines()
    assert lines[2].startswith("| [degradation](degradation.md) |")
    assert [cell.strip() for cell in lines[2].split("|")[4:-1]] == ["3", "1", "2", ""]
    rows = [line for line in lines if "| **" in line]
    assert [row.split("**")[1] for row in rows] == states
    assert all(claim.sentence in row for claim, row in zip(STUDIES["degradation"].claims, rows, strict=True))


def test_checks_have_a_table_of_their_own_and_a_failed_one_says_so(tiny: Tiny, tmp_path: Path) -> None:
    result = tiny("gradients")
    failed = replace(result, checks=(replace(result.checks[0], passed=False), *result.checks[1:]))
    page = write_report(tmp_path, [failed]).read_text()
    assert "Checks of the measurement" in page
    assert page.count("Failed.") == 1
    text = (tmp_path / "report.md").read_text()
    assert text.count("| **failed** |") == 1
    assert text.count("| passed |") == len(result.checks) - 1


def test_what_was_changed_after_results_were_seen_is_named(tiny: Tiny, tmp_path: Path) -> None:
    page = write_report(tmp_path, [tiny("degradation")]).read_text()
    assert "Changed after results were seen" in page
    for change in STUDIES["degradation"].changed:
        assert change in (tmp_path / "report.md").read_text()


def test_the_pages_show_what_the_committed_results_give() -> None:
    largest = largest_of(read_results(ROOT / "results" / "studies"))
    without = [name for name in STUDIES if name not in {result.study for result in largest}]
    assert [result.study for result in largest] == [name for name in STUDIES if name not in without]
    for name in without:
        assert "has not been run to its end" in (ROOT / "docs" / "studies" / f"{name}.md").read_text()
    for name, part in page_parts(largest).items():
        text = (ROOT / "docs" / "studies" / f"{name}.md").read_text()
        assert filled(text, part) == text, "run `make tables`"
    assert all((ROOT / "docs" / "studies" / f"{result.study}.png").is_file() for result in largest)
