"""What a page can ask for by `<!-- generated: NAME -->` (sources.py), from the source."""

from collections.abc import Callable

from docs._ext import reference, studies, zoo

GENERATED: dict[str, Callable[..., str]] = {
    "commands": reference.commands,
    "python": reference.python,
    "recipe-table": reference.recipe_table,
    "recipe-sections": reference.recipe_sections,
    "findings": reference.findings,
    "recipe-fields": reference.recipe_fields,
    "network-table": zoo.network_table,
    "frontier": zoo.frontier,
    "dense-table": zoo.dense_table,
    "weight-tables": zoo.weight_tables,
    "gallery": zoo.gallery,
    "verdicts": studies.verdicts,
    "study-toctree": studies.study_toctree,
}
