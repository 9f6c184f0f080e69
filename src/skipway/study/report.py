"""What the studies found, for people: one page, Markdown tables, and the results' part of each study's own page."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from markupsafe import Markup

from skipway.bundle import write_atomically
from skipway.evaluation.pages import environment
from skipway.evaluation.plots import STYLE, legible, svg
from skipway.study import STUDIES
from skipway.study.contract import Study, Table
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
        return f"{self.study.name}-{self.result.scale.name}"


def part_of(result: Result) -> Part:
    study = STUDIES[result.study]
    key = f"{study.name}-{result.scale.name}"
    drawn = svg(lambda figure: study.draw(result.findings, figure), study.size, key, f"{study.title}. {study.reading}")
    return Part(study, result, Markup(drawn), study.table(result.findings), made(result))


def made(result: Result) -> str:
    """How a result came about, in a sentence or two."""
    scale, data = result.scale, result.data
    seeds = f"{len(result.seeds)} seed{'s' * (len(result.seeds) > 1)}"
    note = f" ({data['note']})" if data["note"] else ""
    length = f"{scale.iterations:,} iterations of {scale.batch} images" if result.runs else "no training"
    hardware = f"{result.hardware['device']}, {result.hardware['precision']}"
    text = f"Scale {scale.called.rstrip(',')}: {length}, {seeds}, {data['name']}{note}. {hardware}, "
    text += f"torch {result.versions['torch']}, commit {result.commit}, {result.date[:10]}."
    return f"{text} Trainings took {result.minutes:,.1f} minutes." if result.runs else text


def verdict_rows(part: Part) -> list[tuple[str, str, str, str, str]]:
    """Claim, source, published, measured, verdict with its reason, as Markdown."""
    pairs = zip(part.study.claims, part.result.verdicts, strict=True)
    return [(c.sentence, c.source, c.published, v.measured, f"**{v.state}**. {v.reason}") for c, v in pairs]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def markdown(part: Part) -> str:
    """Verdicts and figures of a result."""
    columns = ("claim", "source", "published", "measured", "verdict")
    verdicts = markdown_table(columns, verdict_rows(part))
    return f"{part.made}\n\n{verdicts}\n{markdown_table(part.table.columns, part.table.rows)}"


def render(parts: Sequence[Part]) -> str:
    """The page as HTML; the same results give the same bytes."""
    pages = environment("skipway.study", "skipway.evaluation")
    pages.filters["legible"] = legible
    return pages.get_template("report.html").render(parts=parts)


def write_report(out: Path, results: Sequence[Result]) -> Path:
    """report.html and report.md in `out`; returns the page's path."""
    order = list(STUDIES)
    known = [result for result in results if result.study in STUDIES]
    parts = [part_of(r) for r in sorted(known, key=lambda r: (order.index(r.study), -r.scale.rank))]
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(f"## {part.study.title} (`{part.study.name}`)\n\n{markdown(part)}" for part in parts)
    write_atomically(out / "report.md", f"# Studies\n\n{text}".encode())
    page = out / "report.html"
    write_atomically(page, render(parts).encode())
    return page


def fill_pages(folder: Path, results: Sequence[Result]) -> list[Path]:
    """The results' part of STUDY.md in `folder`, and STUDY.png, from the largest scale that there is of each study.

    Pages that do not exist, or have no such part, stay as they are; returns those that were written.
    """
    written = []
    for name in STUDIES:
        found = [result for result in results if result.study == name]
        file = folder / f"{name}.md"
        text = file.read_text() if file.is_file() else ""
        if not found or BEGIN not in text or END not in text:
            continue
        largest = max(found, key=lambda result: result.scale.rank)
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        figure = f"![{STUDIES[name].title}]({name}.png)\n\n{STUDIES[name].reading}"
        block = f"{BEGIN}\n{figure}\n\n{markdown(part_of(largest))}{END}"
        write_atomically(folder / f"{name}.png", png(largest))
        write_atomically(file, f"{head}{block}{tail}".encode())
        written.append(file)
    return written


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
