"""Mutants: faults of one token by cosmic-ray's operators, drawn over the files of a room, each a line for a line."""

import ast
import random
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# replacements that say little: `is` for `==` gives the same for most constants, and bits of a float are an error
SAME = {frozenset(pair) for pair in (("Eq", "Is"), ("NotEq", "IsNot"))}
BITS = {"RShift", "LShift", "BitOr", "BitAnd", "BitXor"}


@dataclass(frozen=True)
class Mutant:
    """A line of a file below src/skipway, and the line that takes its place; both of one or more lines."""

    room: str
    file: str
    line: int
    kind: str
    before: str
    after: str


@cache
def operators() -> dict[str, Any]:
    """cosmic-ray's operators by name, without those that need arguments."""
    import parso  # noqa: F401  # before cosmic_ray, whose first import of it is circular
    from cosmic_ray.plugins import get_operator, operator_names

    found = {name: get_operator(name) for name in operator_names() if not name.endswith("NoOp")}
    return {name: made for name, made in found.items() if not made.arguments() and not says_little(name)}


def says_little(name: str) -> bool:
    names = set(name.split("_")[1:])
    return names in SAME or len(names & BITS) == 1


def kind_of(operator: str) -> str:
    """core/ReplaceBinaryOperator_Add_Sub is one of the ReplaceBinaryOperator."""
    return operator.removeprefix("core/").split("_")[0]


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types stand, which are not run."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)) for node in found if node
    ]


def places(file: Path) -> dict[str, list[tuple[str, int]]]:
    """By kind, every (operator, occurrence) in a file, but in annotations."""
    from cosmic_ray.ast import ast_nodes, get_ast

    source = file.read_text()
    nodes, types = list(ast_nodes(get_ast(source))), annotations(source)
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, made in operators().items():
        operator = made()
        at = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        runs = [i for i, start in enumerate(at) if not any(first <= start < last for first, last in types)]
        found[kind_of(name)] += [(name, i) for i in runs]
    return found


def mutated(room: str, source: Path, file: Path, operator: str, occurrence: int) -> Mutant | None:
    """The mutant of a place; None where the text stays the same or is no Python."""
    from cosmic_ray.mutating import mutate_code

    before = file.read_text()
    after = mutate_code(before, operators()[operator](), occurrence)
    if after is None or after == before:
        return None
    with suppress(SyntaxError):
        compile(after, file.name, "exec")
        return changed_lines(room, file.relative_to(source).as_posix(), kind_of(operator), before, after)
    return None


def changed_lines(room: str, name: str, kind: str, before: str, after: str) -> Mutant:
    """The mutant that is the difference of two texts of a file."""
    old, new = before.splitlines(), after.splitlines()
    first = next(i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1])
    tails = zip(reversed(old[first:]), reversed(new[first:]), strict=False)
    same = next((i for i, pair in enumerate(tails) if pair[0] != pair[1]), min(len(old), len(new)) - first)
    lines = ("\n".join(text[first : len(text) - same]) for text in (old, new))
    return Mutant(room, name, first + 1, kind, *lines)


def drawn(source: Path, room: str, count: int, seed: int) -> list[Mutant]:
    """`count` mutants of a room on different lines: first the kind is drawn, then the place."""
    files = sorted((source / room).rglob("*.py")) if (source / room).is_dir() else [source / f"{room}.py"]
    chance = random.Random(f"{seed} {room}")
    by_kind: dict[str, list[tuple[Path, str, int]]] = defaultdict(list)
    for file in files:
        for kind, found in places(file).items():
            by_kind[kind] += [(file, *place) for place in found]
    kinds = sorted(kind for kind, found in by_kind.items() if found)
    chosen: dict[tuple[str, int], Mutant] = {}
    tries = 0
    while kinds and len(chosen) < count and (tries := tries + 1) < 50 * count:
        mutant = mutated(room, source, *chance.choice(by_kind[chance.choice(kinds)]))
        if mutant:
            chosen.setdefault((mutant.file, mutant.line), mutant)
    return list(chosen.values())
