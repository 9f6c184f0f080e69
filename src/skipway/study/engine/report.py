"""Reports of study results: an HTML page, Markdown, and the generated part of each study's documentation page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import get_args

from markupsafe import Markup

from skipway.bundle import write_atomically
from skipway.reporting.html import environment
from skipway.reporting.svg import STYLE, legible, svg
from skipway.study import STUDIES
from skipway.study.engine.experiment import State, Study, Table, Verdict
from skipway.study.engine.results import Result
from skipway.study.engine.verdicts import format_effect

BEGIN, END = "<!-- results -->", "<!-- /results -->"


@dataclass(frozen=True)
class Part:
    """A result as shown on the HTML page."""

    study: Study
    result: Result
    figure: Markup
    table: Table
    settings: str

    @property
    def anchor(self) -> str:
        return self.result.label


def part_of(result: Result) -> Part:
    study, shown = STUDIES[result.study], without_seed_counts(result)
    description = f"{study.title}. {study.reading}"
    drawn = svg(lambda figure: study.draw(result.findings, figure), study.size, result.label, description)
    return Part(study, shown, Markup(drawn), table_of(result), settings(result))


def without_seed_counts(result: Result) -> Result:
    """`result` without the number of seeds in its verdicts, since `settings` gives it once."""
    return replace(
        result, verdicts=tuple(replace(v, measured=without_seed_count(v.measured, result)) for v in result.verdicts)
    )


def table_of(result: Result) -> Table:
    """The table of figures, without the number of seeds."""
    table = STUDIES[result.study].table(result.findings)
    return Table(table.columns, [[without_seed_count(cell, result) for cell in row] for row in table.rows])


def without_seed_count(text: str, result: Result) -> str:
    return text.replace(f" ({len(result.seeds)} seed{'s' * (len(result.seeds) > 1)})", "")


def settings(result: Result) -> str:
    """Scale, data, seeds, hardware and versions of a result, as text."""
    scale, data = result.scale, result.data
    seeds = f"mean ± standard deviation over {len(result.seeds)} seeds" if len(result.seeds) > 1 else "1 seed"
    note = f" ({data['note']})" if data["note"] else ""
    lengths = sorted({run["recipe"]["iterations"] for run in result.runs})
    steps = " or ".join(f"{count:,}" for count in lengths)
    length = (
        f"{steps} iterations of {scale.batch} images" if lengths else result.findings.get("training", "no training")
    )
    hardware = f"{result.hardware['device']}, {result.hardware['precision']}"
    text = f"Scale {scale.label.rstrip(',')}: {length}, {seeds}, {data['name']}{note}. {hardware}, "
    text += f"torch {result.versions['torch']}, commit {result.commit}, {result.date[:10]}."
    return f"{text} Training took {result.minutes:,.1f} minutes." if result.runs else text


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def markdown(result: Result) -> str:
    """The settings, the table of claims (source, published, measured, effect, verdict with its reason), the checks, and
    the figures."""
    study = STUDIES[result.study]
    pairs = zip(study.claims, without_seed_counts(result).verdicts, strict=True)
    rows = [
        (c.sentence, c.source, c.published, v.measured, effects_of(v), f"**{v.state}**. {v.reason}") for c, v in pairs
    ]
    verdicts = markdown_table(("claim", "source", "published", "measured", "effect", "verdict"), rows)
    table = table_of(result)
    tables = f"{verdicts}\n{checks(result)}{markdown_table(table.columns, table.rows)}"
    return f"{settings(result)}\n\n{tables}{changes(study)}"


def effects_of(verdict: Verdict) -> str:
    """The effects of a verdict as text, each positive where it agrees with the claim."""
    return "; ".join(map(format_effect, verdict.effects)) or "–"


def checks(result: Result) -> str:
    """The table of a study's checks, with an empty line after it; empty without checks."""
    if not result.checks:
        return ""
    rows = [
        (check.sentence, check.source, check.tolerance, found.measured, "passed" if found.passed else "**failed**")
        for check, found in zip(STUDIES[result.study].checks, result.checks, strict=True)
    ]
    return markdown_table(("check of the measurement", "source", "tolerance", "measured", "result"), rows) + "\n"


def changes(study: Study) -> str:
    """What was changed after a look at results, as a list; empty if nothing was."""
    lines = "".join(f"- {line}\n" for line in study.changed)
    return f"\n**Changed after results were seen:**\n\n{lines}" if lines else ""


def render(parts: Sequence[Part]) -> str:
    """The page as HTML; equal results give equal bytes."""
    pages = environment("skipway.study.engine", "skipway.reporting")
    pages.filters["legible"] = legible
    pages.filters["effects"] = effects_of
    return pages.get_template("report.html").render(parts=parts)


def write_report(out: Path, results: Sequence[Result]) -> Path:
    """Write report.html and report.md to `out`; returns the path of the HTML page."""
    known = [r for of in by_study(results) for r in sorted(of, key=lambda result: -result.scale.iterations)]
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(f"## {STUDIES[r.study].title} (`{r.study}`)\n\n{markdown(r)}" for r in known)
    write_atomically(out / "report.md", f"# Studies\n\n{text}".encode())
    page = out / "report.html"
    write_atomically(page, render([part_of(result) for result in known]).encode())
    return page


def fill_pages(folder: Path, results: Sequence[Result]) -> list[Path]:
    """Write the generated part of README.md and of every STUDY.md in `folder`, and STUDY.png, from the result of the
    largest scale of each study.

    Pages that do not exist or have no generated part are left unchanged. Returns the pages written.
    """
    largest = largest_of(results)
    written = []
    for name, part in page_parts(largest).items():
        file = folder / f"{name}.md"
        text = file.read_text() if file.is_file() else ""
        if BEGIN in text and END in text:
            write_atomically(file, filled(text, part).encode())
            written.append(file)
    for result in largest:
        if folder / f"{result.study}.md" in written:
            write_atomically(folder / f"{result.study}.png", png(result))
    return written


def by_study(results: Sequence[Result]) -> list[list[Result]]:
    """The results grouped by study, in the order of STUDIES."""
    found = [[result for result in results if result.study == name] for name in STUDIES]
    return [of for of in found if of]


def largest_of(results: Sequence[Result]) -> list[Result]:
    """For each study with results, the one with the most iterations."""
    return [max(of, key=lambda result: result.scale.iterations) for of in by_study(results)]


def page_parts(results: Sequence[Result]) -> dict[str, str]:
    """The generated part of each page, by the page's name."""
    return {result.study: page_part(result) for result in results} | {"README": overview(results)}


def filled(page: str, part: str) -> str:
    """`page` with `part` inserted between its markers."""
    return f"{page.split(BEGIN)[0]}{BEGIN}\n{part}{END}{page.split(END)[1]}"


def page_part(result: Result) -> str:
    """The generated part of a study's page."""
    study = STUDIES[result.study]
    return f"![{study.title}]({study.name}.png)\n\n{study.reading}\n\n{markdown(result)}"


def overview(results: Sequence[Result]) -> str:
    """A table with the question and the number of claims by verdict for each result, and one with every claim."""
    states = get_args(State)
    rows = []
    for result in results:
        study, found = STUDIES[result.study], [verdict.state for verdict in result.verdicts]
        counts = [str(found.count(state) or "") for state in states]
        rows.append((f"[{study.name}]({study.name}.md)", study.question, result.scale.label.rstrip(","), *counts))
    counted = markdown_table(("study", "question", "scale", *states), rows)
    return f"{counted}\n{claims_table(results)}"


def repeats(verdict: Verdict) -> str:
    """The number of seeds that a verdict rests on, or of rounds of timing."""
    if not verdict.effects:
        return "–"
    fewest = min(verdict.effects, key=lambda effect: effect.seeds)
    return str(fewest.seeds) + (" rounds" if fewest.over == "rounds" else "")


def claims_table(results: Sequence[Result]) -> str:
    """A row for each claim: its study, verdict, effect, seeds and steps of training."""
    rows = [
        (
            f"[{result.study}]({result.study}.md)",
            claim.sentence,
            f"**{verdict.state}**",
            effects_of(verdict),
            repeats(verdict),
            f"{verdict.steps:,}" if verdict.steps else "–",
        )
        for result in results
        for claim, verdict in zip(STUDIES[result.study].claims, result.verdicts, strict=True)
    ]
    return markdown_table(("study", "claim", "verdict", "effect, with its 95 % interval", "seeds", "steps"), rows)


def png(result: Result) -> bytes:
    """The study's figure as PNG on white."""
    import matplotlib
    from matplotlib.figure import Figure

    study, file = STUDIES[result.study], BytesIO()
    with matplotlib.rc_context({**STYLE}):
        figure = Figure(figsize=study.size, layout="constrained")
        study.draw(result.findings, figure)
        figure.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()
