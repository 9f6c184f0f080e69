"""What the studies found, for people: one page, Markdown tables, and the results' part of each study's own page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import get_args

from markupsafe import Markup

from skipway.bundle import write_atomically
from skipway.evaluation.pages import environment
from skipway.evaluation.plots import STYLE, legible, svg
from skipway.study import STUDIES
from skipway.study.contract import State, Study, Table
from skipway.study.results import Result

BEGIN, END = "<!-- results -->", "<!-- /results -->"


@dataclass(frozen=True)
class Part:
    """A result as the page shows it."""

    study: Study
    result: Result
    figure: Markup
    table: Table
    made: str

    @property
    def anchor(self) -> str:
        return self.result.label


def part_of(result: Result) -> Part:
    study, shown = STUDIES[result.study], unrepeated(result)
    words = f"{study.title}. {study.reading}"
    drawn = svg(lambda figure: study.draw(result.findings, figure), study.size, result.label, words)
    return Part(study, shown, Markup(drawn), table_of(result), made(result))


def unrepeated(result: Result) -> Result:
    """`result`, its verdicts without the number of seeds, which `made` says once for all."""
    return replace(result, verdicts=tuple(replace(v, measured=cut(v.measured, result)) for v in result.verdicts))


def table_of(result: Result) -> Table:
    """The figures, likewise."""
    table = STUDIES[result.study].table(result.findings)
    return Table(table.columns, [[cut(cell, result) for cell in row] for row in table.rows])


def cut(text: str, result: Result) -> str:
    return text.replace(f" ({len(result.seeds)} seed{'s' * (len(result.seeds) > 1)})", "")


def made(result: Result) -> str:
    """How a result came about, in a sentence or two."""
    scale, data = result.scale, result.data
    seeds = f"means ± deviations over {len(result.seeds)} seeds" if len(result.seeds) > 1 else "1 seed"
    note = f" ({data['note']})" if data["note"] else ""
    lengths = sorted({run["recipe"]["iterations"] for run in result.runs})
    steps = " or ".join(f"{count:,}" for count in lengths)
    length = f"{steps} iterations of {scale.batch} images" if lengths else "no training"
    hardware = f"{result.hardware['device']}, {result.hardware['precision']}"
    text = f"Scale {scale.called.rstrip(',')}: {length}, {seeds}, {data['name']}{note}. {hardware}, "
    text += f"torch {result.versions['torch']}, commit {result.commit}, {result.date[:10]}."
    return f"{text} Trainings took {result.minutes:,.1f} minutes." if result.runs else text


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def markdown(result: Result) -> str:
    """How the result came about; claim, source, published, measured and verdict with its reason; the figures."""
    study = STUDIES[result.study]
    pairs = zip(study.claims, unrepeated(result).verdicts, strict=True)
    rows = [(c.sentence, c.source, c.published, v.measured, f"**{v.state}**. {v.reason}") for c, v in pairs]
    verdicts = markdown_table(("claim", "source", "published", "measured", "verdict"), rows)
    table = table_of(result)
    return f"{made(result)}\n\n{verdicts}\n{markdown_table(table.columns, table.rows)}"


def render(parts: Sequence[Part]) -> str:
    """The page as HTML; the same results give the same bytes."""
    pages = environment("skipway.study", "skipway.evaluation")
    pages.filters["legible"] = legible
    return pages.get_template("report.html").render(parts=parts)


def write_report(out: Path, results: Sequence[Result]) -> Path:
    """report.html and report.md in `out`; returns the page's path."""
    known = [r for of in by_study(results) for r in sorted(of, key=lambda result: -result.scale.iterations)]
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(f"## {STUDIES[r.study].title} (`{r.study}`)\n\n{markdown(r)}" for r in known)
    write_atomically(out / "report.md", f"# Studies\n\n{text}".encode())
    page = out / "report.html"
    write_atomically(page, render([part_of(result) for result in known]).encode())
    return page


def fill_pages(folder: Path, results: Sequence[Result]) -> list[Path]:
    """The results' part of README.md and of every STUDY.md in `folder`, and STUDY.png, from the largest scale that
    there is of each study.

    Pages that do not exist, or have no such part, stay as they are; returns those that were written.
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
    """The results of each study that has any, in the order of STUDIES."""
    found = [[result for result in results if result.study == name] for name in STUDIES]
    return [of for of in found if of]


def largest_of(results: Sequence[Result]) -> list[Result]:
    """Of each study that has any, the result of the longest trainings."""
    return [max(of, key=lambda result: result.scale.iterations) for of in by_study(results)]


def page_parts(results: Sequence[Result]) -> dict[str, str]:
    """What the pages show of `results`, one a study, by the pages' names."""
    return {result.study: page_part(result) for result in results} | {"README": overview(results)}


def filled(page: str, part: str) -> str:
    """`page` with `part` between its markers."""
    return f"{page.split(BEGIN)[0]}{BEGIN}\n{part}{END}{page.split(END)[1]}"


def page_part(result: Result) -> str:
    """What a study's own page shows of a result."""
    study = STUDIES[result.study]
    return f"![{study.title}]({study.name}.png)\n\n{study.reading}\n\n{markdown(result)}"


def overview(results: Sequence[Result]) -> str:
    """A row for each result: the study's question, and how many of its claims have which verdict."""
    states = get_args(State)
    rows = []
    for result in results:
        study, found = STUDIES[result.study], [verdict.state for verdict in result.verdicts]
        counts = [str(found.count(state) or "") for state in states]
        rows.append((f"[{study.name}]({study.name}.md)", study.question, result.scale.called.rstrip(","), *counts))
    return markdown_table(("study", "question", "scale", *states), rows)


def png(result: Result) -> bytes:
    """The study's figure on white."""
    import matplotlib
    from matplotlib.figure import Figure

    study, file = STUDIES[result.study], BytesIO()
    with matplotlib.rc_context({**STYLE}):
        figure = Figure(figsize=study.size, layout="constrained")
        study.draw(result.findings, figure)
        figure.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()
