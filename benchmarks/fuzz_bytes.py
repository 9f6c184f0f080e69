"""Bytes that a fuzzer led by coverage tries on parsers of ours, counted. results/fuzz_bytes.json

    pip install atheris
    python -m benchmarks.fuzz_bytes [--seconds 120] [--seed 1] [--target image_headers ...]

Targets are the look at image headers, the parser of multipart forms and that of cards. Each runs in a process of its
own, in which only that parser's modules are instrumented. An input must be read or refused in one line; anything else
ends the process, and libFuzzer leaves the input in build/fuzz. Beginnings are a few valid inputs.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CRASHES = ROOT / "build" / "fuzz"
ONE = "--one"  # a process for one target


def image_headers() -> Callable[[bytes], None]:
    import atheris

    with atheris.instrument_imports(include=["skipway.data.image_headers"]):
        from skipway.data.image_headers import HeaderError, read_header

    def look(content: bytes) -> None:
        try:
            read_header(content)
        except HeaderError as error:
            require_one_line(error)

    return look


def multipart() -> Callable[[bytes], None]:
    import atheris

    with atheris.instrument_imports(include=["skipway.deploy.serve.multipart", "python_multipart.multipart"]):
        from skipway.deploy.serve.limits import RefusedError
        from skipway.deploy.serve.multipart import parse

    def look(content: bytes) -> None:
        try:
            parse("multipart/form-data; boundary=b", content, 16)
        except RefusedError as error:
            require_one_line(error)

    return look


def cards() -> Callable[[bytes], None]:
    import atheris

    with atheris.instrument_imports(include=["skipway.bundle.card", "skipway.bundle.checks"]):
        from skipway.bundle.card import decode

    def look(content: bytes) -> None:
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            return  # as bundle.decode_card refuses it
        try:
            decode(values)
        except ValueError as error:
            require_one_line(error)

    return look


TARGETS = {"image_headers": image_headers, "multipart": multipart, "cards": cards}


def require_one_line(error: Exception) -> None:
    text = str(error)
    if not text.strip() or len(text.splitlines()) != 1:
        raise AssertionError(f"not one line: {text!r}")


def beginnings(target: str) -> list[bytes]:
    """Valid inputs of a target."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    if target == "image_headers":
        from tests.fuzz.test_image_headers import WHOLE

        return WHOLE
    if target == "multipart":
        from tests.fuzz.test_server import WHOLE as FORM

        return [FORM]
    from served import write_bundle

    with tempfile.TemporaryDirectory() as folder:
        return [(write_bundle(Path(folder) / "run") / "card.json").read_bytes()]


def one(target: str, seconds: int, seed: int, corpus: Path) -> None:
    """Fuzz until the seconds are over, when libFuzzer ends the process."""
    import atheris

    look = TARGETS[target]()
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=20000", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={CRASHES}/{target}-", str(corpus)], look)
    atheris.Fuzz()


def fuzzed(target: str, seconds: int, seed: int) -> dict[str, Any]:
    """What a process of `one` did."""
    CRASHES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(beginnings(target)):
            (Path(folder) / f"{number}").write_bytes(content)
        command = [sys.executable, "-m", "benchmarks.fuzz_bytes", ONE, target, f"{seconds}", f"{seed}", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        kept = len(list(Path(folder).iterdir()))
    executions = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    if executions is None or done.returncode:
        print(done.stdout[-2000:], done.stderr[-4000:], file=sys.stderr, flush=True)
    return {
        "target": target,
        "executions": int(executions[1]) if executions else 0,
        "failures": int(done.returncode != 0),
        "inputs_of_new_coverage": kept,
        "seconds": seconds,
        "seed": seed,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", choices=TARGETS)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    found = [fuzzed(target, given.seconds, given.seed) for target in given.target or TARGETS]
    print(json.dumps(found, indent=1))
    if not given.target:
        from benchmarks.harness import save

        save("fuzz_bytes", {"what": "bytes led by coverage, each refused in one line or read", "targets": found})


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE]:
        one(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
    else:
        main()
