"""`skipway-runtime` in an environment of its own beside `skipway`. results/runtime.json

    python -m benchmarks.runtime RUN IMAGES [--rounds 7] [--requests 400]

RUN is a bundle, IMAGES a folder of its photographs or one image. The wheel is built from runtime/ and installed with
ONNX Runtime and the server's libraries, by pip's index. Measured: megabytes of site-packages; processor seconds from
the command to the first label, of both commands in turn; whether the answers of both are the same; images a second of
both servers under load by 16 clients, in turn.
"""

import argparse
import asyncio
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import save
from benchmarks.serve import CLIENTS, Address, in_turn, request_of, until_ready

ROOT = Path(__file__).resolve().parent.parent
FULL = [sys.executable, "-m", "skipway"]


def installed(folder: Path, extras: str) -> Path:
    """The python of a new environment in `folder` with the runtime and its `extras`."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copytree(ROOT / "runtime", folder / "runtime", ignore=shutil.ignore_patterns("build"))
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "build", "-q", "--wheel", "--out-dir", folder, folder / "runtime"], check=True)
    [wheel] = folder.glob("*.whl")
    python = folder / "bare" / "bin" / "python"
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, folder / "bare"], check=True)
    subprocess.run([*uv, "pip", "install", "-q", "--python", python, f"{wheel}[{extras}]"], check=True)
    return python


def megabytes(python: Path) -> float:
    """Of the environment's site-packages, without compiled bytecode."""
    [packages] = python.parent.parent.glob("lib/python*/site-packages")
    files = [file for file in packages.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def asked(command: Sequence[str | Path]) -> tuple[float, str]:
    """Processor seconds of a command, and its standard output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, output


def first_label(commands: dict[str, list[str | Path]], rounds: int) -> dict[str, Any]:
    """Processor seconds of each command in turn; the first turn, which compiles bytecode, does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            taken, _ = asked(command)
            if turn:
                seconds[name].append(round(taken, 3))
    return {name: {"median_s": statistics.median(all_s), "all_s": all_s} for name, all_s in seconds.items()}


def agreement(commands: dict[str, list[str | Path]]) -> dict[str, Any]:
    """How the JSON lines of two commands agree."""
    one, other = ([json.loads(line) for line in asked([*c, "--json"])[1].splitlines()] for c in commands.values())
    pairs = [(a["classes"], b["classes"]) for a, b in zip(one, other, strict=True)]
    return {
        "images": len(pairs),
        "same_label": sum(a[0]["class"] == b[0]["class"] for a, b in pairs),
        "largest_difference": max(abs(a[0]["probability"] - b[0]["probability"]) for a, b in pairs),
    }


@contextmanager
def serving(command: Sequence[str | Path]) -> Iterator[Address]:
    """The address of a server that answers; it is ended afterwards."""
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", process.stdout.readline())
        assert found is not None
        address = found[1], int(found[2])
        asyncio.run(until_ready(address))
        yield address
    finally:
        process.terminate()
        process.communicate()


def load(commands: dict[str, list[str | Path]], images: list[Path], rounds: int, count: int) -> dict[str, Any]:
    """Images a second of each server, in turn, and what became of all requests."""
    requests = [request_of(image.read_bytes()) for image in images]
    rates: dict[str, list[float]] = {name: [] for name in commands}
    statuses: set[int] = set()
    for _ in range(rounds):
        for name, command in commands.items():
            with serving(command) as address:
                asyncio.run(in_turn(address, requests, CLIENTS, count // 4))
                start = time.perf_counter()
                tally = asyncio.run(in_turn(address, requests, CLIENTS, count))
                rates[name].append(round(tally.statuses[200] / (time.perf_counter() - start), 1))
                statuses |= set(tally.statuses)
    return {
        "clients": CLIENTS,
        "statuses": sorted(statuses),
        **{name: {"median_images_per_s": statistics.median(found), "all": found} for name, found in rates.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=400)
    given = parser.parse_args()
    images = [given.images]
    if given.images.is_dir():
        images = sorted(file for file in given.images.iterdir() if file.suffix.lower() in (".jpg", ".jpeg"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export = folder / "export"
        proven = [part for image in images[:3] for part in ("--images", image)]
        subprocess.run([*FULL, "export", given.run, "--format", "onnx", "--out", export, *proven], check=True)
        (folder / "predict").mkdir()
        size = megabytes(installed(folder / "predict", "onnx"))
        (folder / "serve").mkdir()
        python = installed(folder / "serve", "onnx,serve")
        light = [python.with_name("skipway-runtime")]
        predict: dict[str, list[str | Path]] = {
            "skipway-runtime": [*light, "predict", export],
            "skipway": [*FULL, "predict", given.run],
        }
        serve: dict[str, list[str | Path]] = {
            "skipway-runtime": [*light, "serve", export, "--max-latency-ms", "60000"],
            "skipway": [*FULL, "serve", given.run, "--engine", "onnxruntime", "--max-latency-ms", "60000"],
        }
        measured: dict[str, Any] = {
            "what": "skipway-runtime with ONNX Runtime in an environment of its own, beside skipway",
            "network": json.loads((given.run / "card.json").read_text())["network"]["name"],
            "megabytes": {"predict": size, "serve": megabytes(python)},
        }
        print(measured, flush=True)
        measured["agreement"] = agreement({key: [*c, *images] for key, c in predict.items()})
        print(measured["agreement"], flush=True)
        measured["first_label"] = first_label({key: [*c, images[0]] for key, c in predict.items()}, given.rounds)
        print(measured["first_label"], flush=True)
        measured["server"] = load(serve, images, min(3, given.rounds), given.requests)
        save("runtime", measured)


if __name__ == "__main__":
    main()
