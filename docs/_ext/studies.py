"""The studies from their results and the registry: verdicts, questions, the list of pages, as Markdown."""

from functools import cache
from pathlib import Path

from docs._ext.markdown import table
from skipway.study import STUDIES
from skipway.study.engine.report import without_seed_counts
from skipway.study.engine.results import Result, read_results

RESULTS = Path(__file__).resolve().parent.parent.parent / "results" / "studies"


@cache
def results() -> dict[str, Result]:
    """The result of each study that was run at scale `small`."""
    return {found.study: found for found in read_results(RESULTS) if found.scale.name == "small"}


def verdicts(study: str) -> str:
    """What a study says now of each of its claims."""
    link = f"[{study}](../studies/{study}.md)"
    if study not in results():
        return f"The study {link} has no result yet."
    pairs = zip(STUDIES[study].claims, without_seed_counts(results()[study]).verdicts, strict=True)
    told = table(("claim", "what our data say"), ((claim.sentence, f"**{v.state}**. {v.reason}") for claim, v in pairs))
    return f"The study {link}, as its result stands in this version:\n\n{told}"


def study_toctree() -> str:
    """The studies' pages in the order of the registry."""
    pages = "\n".join(f"studies/{name}" for name in STUDIES)
    return f"```{{toctree}}\n:caption: Studies\n:hidden:\n\nstudies/README\n{pages}\n```"
