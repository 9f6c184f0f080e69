"""From files to labels, beside what others would write: images a second. results/predict.json

    python -m benchmarks.predict PHOTOS [--files 1000] [--rounds 3] [--script ../shared/baselines/openvino_pipeline.py]

resnet50 at 224 pixels, the same weights everywhere but timm's, whose speed is that of any. Every turn is a process. The
OpenVINO script needs opencv-python-headless.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import labelling
from benchmarks.harness import save
from skipway.hardware import decide

SCRIPT = Path(__file__).parent.parent.parent / "shared" / "baselines" / "openvino_pipeline.py"
MULTIPLY_ADDS = 4.09e9  # of resnet50 at 224 pixels, as torchvision publishes them
OURS, INT8 = "skipway auto", "skipway int8"


def candidates(folder: Path, files: list[Path], script: Path) -> dict[str, Callable[[], float]]:
    weights, run, onnx = folder / "net.pth", folder / "run", folder / "net.onnx"
    return {
        OURS: lambda: labelling.skipway(run, files, "auto"),
        INT8: lambda: labelling.skipway(run, files, "int8"),
        "skipway eager": lambda: labelling.skipway(run, files, "eager"),
        "torchvision script": lambda: labelling.torchvision_script(weights, files),
        "timm, compiled, channels-last, bfloat16": lambda: labelling.timm_script(weights, files),
        "openvino script, plain": lambda: labelling.openvino_script(script, onnx, files, plain=True),
        "openvino script": lambda: labelling.openvino_script(script, onnx, files, plain=False),
    }


def matmul_peak(seconds: float = 2.0) -> float:
    """The most multiply-adds a second of a large bfloat16 matrix product (float32 where the processor lacks it)."""
    side = 2048
    a = torch.randn(side, side, dtype=decide("cpu").dtype)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return side**3 / best


def network_rate(run: Path) -> tuple[str, float]:
    """What auto chose, and its images a second without decoding."""
    from skipway import Predictor
    from skipway.deploy.engines.selection import format_options, measure_speed

    predictor = Predictor(run, engine="auto")
    images = torch.randint(0, 256, (predictor.engine.batch, 3, 224, 224), dtype=torch.uint8)
    chosen = f"{predictor.engine.name}, {format_options(predictor.engine.options)}"
    return chosen, measure_speed(predictor.engine, (images,), 5)[0]


def prepare(folder: Path, photos: list[Path]) -> dict[str, Any]:
    """Everything the turns need in `folder`: network, exports and the choice of auto, made before int8 is there."""
    from skipway.deploy.export.export import ExportRequest, export

    _, run, _ = labelling.prepare(folder, photos)
    peak = matmul_peak()
    chosen, speed = network_rate(run)
    data = labelling.labelled_folder(folder / "labelled", run, photos)
    int8 = export(run, ExportRequest("openvino", folder / "int8", data=str(data), max_drop=100.0)).evidence["int8"]
    (run / "exports").mkdir()
    return {
        "auto": chosen,
        "network_images_per_s": round(speed, 1),
        "matmul_peak_multiply_adds_per_s": round(peak / 1e9, 1) * 1e9,
        "fraction_of_peak": round(speed * MULTIPLY_ADDS / peak, 3),
        "int8_agreement_with_eager": int8["int8"],
    }


def turn(name: str, folder: Path, given: argparse.Namespace) -> float:
    """A candidate in a process of its own. int8's export lies in the run for its own turns alone, since auto would
    take it."""
    lent = (folder / "int8", folder / "run" / "exports" / "openvino-int8")
    if name == INT8:
        lent[0].rename(lent[1])
    command = [sys.executable, "-m", "benchmarks.predict", str(given.photos), "--files", str(given.files)]
    command += ["--script", str(given.script), "--one", name, str(folder)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        if name == INT8:
            lent[1].rename(lent[0])
    return float(ended.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--script", type=Path, default=SCRIPT)
    parser.add_argument("--one", nargs=2, metavar=("CANDIDATE", "FOLDER"))
    given = parser.parse_args()
    photos = sorted(given.photos.glob("*.JPEG"))
    files = (photos * -(-given.files // len(photos)))[: given.files]
    if given.one:
        print(candidates(Path(given.one[1]), files, given.script)[given.one[0]]())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SKIPWAY_CACHE"] = str(folder / "cache")
        prepared = prepare(folder, photos)
        print(prepared, flush=True)
        speeds: dict[str, list[float]] = {key: [] for key in candidates(folder, files, given.script)}
        for _ in range(given.rounds):
            for key in speeds:
                speeds[key].append(round(turn(key, folder, given), 2))
                print(key, speeds[key][-1], flush=True)
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    ratios = {f"over {key}": round(medians[OURS] / value, 3) for key, value in medians.items() if key != OURS}
    rows = {key: {"images_per_s": medians[key], "all": values} for key, values in speeds.items()}
    ratios["int8 over auto"] = round(medians[INT8] / medians[OURS], 3)
    what = f"{len(files)} photographs from files to labels, {labelling.NETWORK} at 224 pixels; every turn a process"
    save("predict", {"what": what, "rounds": given.rounds, **prepared, "candidates": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
