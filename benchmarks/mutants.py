"""How many small faults of the code the tests notice, room by room. results/mutants.json

    python -m benchmarks.mutants [--seed 0] [--each 4] [--room data ...] [--seconds 20]
    python -m benchmarks.mutants --survivors

Faults are those of cosmic-ray's operators: a comparison, an arithmetic or boolean operator, a number or a truth value
replaced, a loop that does not run, an exception that is not caught, a decorator removed. Of each package `each` are
drawn, of each single module half as many; every kind of fault equally often, since most places are numbers. They are
made in a worktree of HEAD, never in this checkout. The tests of the room (ROOMS) run from the nearest to the farthest
by imports, until one fails or the processor
seconds are over. A fault is noticed if a test fails that passes without it.

`--survivors` tries again, at the present HEAD, those that were not noticed and are not in equivalent_mutants.json,
where mutants are listed that no test could notice, each with the reason.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.mutant_draw import Mutant, drawn

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.json")
FOUND = ROOT / "build" / "mutants.jsonl"  # as they are found, so that an interrupted run goes on
TASKS = ("tests/tasks", "tests/detect", "tests/segment", "tests/generate", "tests/evaluation")
VERBS = ("tests/cli", "tests/test_python_api.py", "tests/test_use.py")
ROOMS: dict[str, tuple[str, ...]] = {  # the tests of each package or module below src/skipway
    "attribution": ("tests/tasks", *VERBS),
    "bundle": ("tests/test_bundle.py", "tests/fuzz", "tests/models/test_weights.py", *VERBS),
    "cli": VERBS,
    "commands": (*VERBS, "tests/embedding", "tests/evaluation", "tests/generate", "tests/detect"),
    "data": ("tests/data", "tests/fuzz"),
    "deploy": ("tests/deploy", "tests/generate", "tests/detect", "tests/segment", "tests/test_use.py"),
    "download": ("tests/test_download.py", "tests/fuzz"),
    "embedding": ("tests/embedding",),
    "errors": ("tests/test_errors.py", "tests/cli", "tests/data", "tests/test_bundle.py"),
    "estimator": ("tests/test_estimator.py",),
    "evaluation": ("tests/evaluation", *TASKS, "tests/cli/test_eval_verb.py"),
    "hardware": ("tests/test_hardware.py", "tests/test_cuda.py", "tests/training"),
    "json_text": ("tests/test_json_text.py", "tests/cli"),
    "models": ("tests/models",),
    "new_files": ("tests/data", "tests/embedding", "tests/cli"),
    "reporting": ("tests/test_diagram.py", "tests/evaluation", "tests/tasks", "tests/study", "tests/cli"),
    "study": ("tests/study", "tests/cli/test_study_verb.py"),
    "tasks": TASKS,
    "trained": ("tests/test_bundle.py", "tests/fuzz", *VERBS),
    "training": ("tests/training", "tests/detect", "tests/segment", "tests/generate"),
}
TOO_LONG = -1
IMPORTS = "the imports of the tests"
TOGETHER = 4  # test files that are collected at once


@contextmanager
def worktree() -> Iterator[Path]:
    """HEAD in a folder of its own, with the data beside it that some tests read."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), "HEAD"], check=True)
        shared = ROOT.parent / "shared"
        if shared.is_dir():
            (Path(folder) / "shared").symlink_to(shared)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def imports(file: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it; `from a import b` gives a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def nearest(tree: Path, mutant: Mutant) -> list[str]:
    """The test files of the mutant's room, by how many imports lie between them and the mutated module."""
    source = tree / "src" / "skipway"
    modules = {
        ".".join(("skipway", *file.relative_to(source).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in source.rglob("*.py")
    }
    target = ".".join(("skipway", *Path(mutant.file).with_suffix("").parts)).removesuffix(".__init__")
    importers: dict[str, set[str]] = defaultdict(set)
    for name, file in modules.items():
        for other in imports(file) & set(modules):
            importers[other].add(name)
    distance, border = {target: 0}, [target]
    while border:
        border = [name for other in border for name in sorted(importers[other]) if name not in distance]
        distance |= {name: max(distance.values()) + 1 for name in border}
    module = Path(mutant.file)
    stem = module.parent.name if module.stem == "__init__" else module.stem
    paths = [tree / path for path in ROOMS[mutant.room]]
    tests = {file: i for i, path in enumerate(paths) for file in (path.rglob("test_*.py") if path.is_dir() else [path])}

    def rank(test: Path) -> tuple[int, int, int, str]:
        far = min((distance.get(name, 99) for name in imports(test)), default=99)
        return stem not in test.stem, far, tests[test], test.as_posix()

    return [file.relative_to(tree).as_posix() for file in sorted(tests, key=rank)]


class Tests:
    """pytest in forks of one process that has imported the libraries, which takes longer than most tests."""

    def __init__(self, tree: Path) -> None:
        alone = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": ""}
        # bytecode that knows its source by a hash: a mutant may be as long and as old as what it replaces
        compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "src"]
        subprocess.run(compiled, cwd=tree, env=os.environ | alone, check=True)
        command = [sys.executable, "-P", str(Path(__file__).with_name("forked_pytest.py"))]
        self.process = subprocess.Popen(
            command, cwd=tree, env=os.environ | alone, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.unsound: list[str] = []  # tests that fail without a mutant
        if self.run(["tests/test_json_text.py"], 180)["code"]:
            raise RuntimeError("the tests do not run in the worktree")

    def run(self, tests: list[str], seconds: float) -> dict[str, Any]:
        """{"code": of pytest or TOO_LONG, "failed": the first failed test, "begun": without one the last that began,
        "seconds"}"""
        assert self.process.stdin is not None and self.process.stdout is not None
        asked = {"tests": tests, "without": self.unsound, "seconds": seconds}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def prove(self, tests: list[str]) -> set[str]:
        """Those of the tests that fail without a mutant, which do not count from now on."""
        left, found = sorted(set(tests)), set[str]()
        while left and (failed := self.run(left, 60 * len(left))["failed"]):
            found |= {test for test in left if test.startswith(failed)}
            self.unsound += found
            left = [test for test in left if test not in found]
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def tried(mutant: Mutant, tree: Path, tests: Tests, seconds: float) -> dict[str, Any]:
    """The mutant with the test that noticed it, empty if none did."""
    file = tree / "src" / "skipway" / mutant.file
    original, ordered = file.read_text(), nearest(tree, mutant)
    found: dict[str, Any] = {"failed": ""}
    if mutant.before not in original:
        return asdict(mutant) | {"noticed_by": "", "gone": True, "seconds": 0.0}
    lines, count = original.split("\n"), mutant.before.count("\n") + 1
    starts = [i for i in range(len(lines)) if "\n".join(lines[i : i + count]) == mutant.before]
    start = min(starts, key=lambda i: abs(i + 1 - mutant.line))
    changed = "\n".join([*lines[:start], mutant.after, *lines[start + count :]])
    spent, count = 0.0, 1  # the nearest file first, then several together
    while ordered and spent < seconds and not found["failed"]:
        some, ordered, count = ordered[:count], ordered[count:], TOGETHER
        file.write_text(changed)
        try:
            found = tests.run(some, seconds - spent)
            if (
                found["code"] == TOO_LONG
                and found["begun"]
                and tests.run([found["begun"]], seconds)["code"] == TOO_LONG
            ):
                found["failed"] = found["begun"]  # alone too: it does not end
        finally:
            file.write_text(original)
        spent += found["seconds"]
        if found["code"] not in (0, 1, 5, TOO_LONG) and not found["failed"]:  # 5: no test was left
            found["failed"] = IMPORTS
    return asdict(mutant) | {"line": start + 1, "noticed_by": found["failed"], "seconds": round(spent, 1)}


def by_room(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What results/mutants.json says of each room."""
    known = {key_of(one): one["reason"] for one in json.loads(EQUIVALENT.read_text())}
    rooms: dict[str, Any] = {}
    for mutant in sorted(found, key=lambda one: (one["room"], one["file"], one["line"])):
        room = rooms.setdefault(
            mutant["room"], {"mutants": 0, "noticed": 0, "equivalent": 0, "share": 1.0, "survivors": [], "all": []}
        )
        reason = known.get(key_of(mutant), "")
        room["mutants"] += 1
        room["noticed"] += bool(mutant["noticed_by"])
        room["equivalent"] += bool(reason) and not mutant["noticed_by"]
        plain = {key: value for key, value in mutant.items() if key != "equivalent"}
        room["all"].append(plain | ({"equivalent": reason} if reason and not mutant["noticed_by"] else {}))
        if not mutant["noticed_by"] and not reason:
            room["survivors"].append(f"{mutant['file']}:{mutant['line']}: {mutant['before']} -> {mutant['after']}")
        room["share"] = round(room["noticed"] / max(room["mutants"] - room["equivalent"], 1), 3)
    return rooms


def key_of(mutant: dict[str, Any]) -> tuple[str, str, str]:
    return mutant["file"], mutant["before"], mutant["after"]


def earlier() -> dict[tuple[str, str, str], dict[str, Any]]:
    """What build/mutants.jsonl has, the last line of each mutant."""
    lines = FOUND.read_text().splitlines() if FOUND.is_file() else []
    return {key_of(one): one for one in map(json.loads, lines)}


def result_now() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "results" / "mutants.json").read_text())
    return found


def wanted(given: argparse.Namespace, tree: Path) -> list[Mutant]:
    """The mutants to be tried."""
    source = tree / "src" / "skipway"
    if given.survivors:
        keys = Mutant.__dataclass_fields__
        missed = [one for room in result_now()["rooms"].values() for one in room["all"] if not one["noticed_by"]]
        return [Mutant(**{key: one[key] for key in keys}) for one in missed if "equivalent" not in one]
    return [
        mutant
        for room in given.room or ROOMS
        for mutant in drawn(source, room, given.each if (source / room).is_dir() else (given.each + 1) // 2, given.seed)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--room", action="append", choices=ROOMS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--survivors", action="store_true")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    FOUND.parent.mkdir(exist_ok=True)
    with worktree() as tree:
        described = ["git", "-C", str(tree), "describe", "--always", "--exclude=*"]
        commit = subprocess.run(described, check=True, capture_output=True, text=True).stdout.strip()
        mutants, tests = wanted(given, tree), Tests(tree)
        known = {} if given.survivors else earlier()
        while left := [mutant for mutant in mutants if key_of(asdict(mutant)) not in known]:
            for mutant in left:
                one = known[key_of(asdict(mutant))] = tried(mutant, tree, tests, given.seconds)
                with FOUND.open("a") as file:
                    file.write(json.dumps(one) + "\n")
                by = one["noticed_by"] or "NOBODY"
                print(f"{len(known)}/{len(mutants)} {mutant.file}:{mutant.line} {mutant.kind}: {by}", flush=True)
            wrong = tests.prove([one["noticed_by"] for one in known.values() if one["noticed_by"] not in ("", IMPORTS)])
            known = {key: one for key, one in known.items() if one["noticed_by"] not in wrong}
        tests.close()
    found = [known[key_of(asdict(mutant))] for mutant in mutants]
    if given.survivors:  # and those that were noticed before
        every = (one for room in result_now()["rooms"].values() for one in room["all"])
        found += [one for one in every if key_of(one) not in known]
    from benchmarks.harness import save  # imports torch, which finding mutants does not need

    save(
        "mutants",
        {"what": "faults of one token by cosmic-ray, each against the tests of its room", "seed": given.seed}
        | {"seconds_a_mutant": given.seconds, "rooms": by_room(found)},
        commit,
    )


if __name__ == "__main__":
    main()
