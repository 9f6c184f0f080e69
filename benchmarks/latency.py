"""One photograph from file to label: median and 99th percentile. results/latency.json

    python -m benchmarks.latency PHOTOS [--images 400]

`Predictor` with goal "latency" against Pillow, torchvision's crop and OpenVINO's own latency mode on the same weights,
in turns, photograph by photograph.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import labelling
from benchmarks.harness import save
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from skipway.hardware import decide


def openvinos_own(onnx: Path) -> Callable[[Path], int]:
    """Decoding by Pillow, then OpenVINO's latency mode in the precision that the processor is made for."""
    import openvino
    from torchvision import transforms as t

    model = openvino.Core().read_model(onnx)
    model.reshape([1, 3, 224, 224])
    hint = "bf16" if decide("cpu").dtype is torch.bfloat16 else "f32"
    net = openvino.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint})
    crop = t.Compose([t.Resize(256), t.CenterCrop(224), t.ToTensor(), t.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    return lambda file: int(net(crop(Image.open(file).convert("RGB")).unsqueeze(0).numpy())[0].argmax())


def summary(seconds: list[float]) -> dict[str, Any]:
    milliseconds = 1000 * np.array(seconds)
    return {f"p{q}_ms": round(float(np.percentile(milliseconds, q)), 3) for q in (50, 99)}


def main() -> None:
    from skipway import Predictor

    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=400)
    given = parser.parse_args()
    photos = sorted(given.photos.glob("*.JPEG"))
    with tempfile.TemporaryDirectory() as name:
        os.environ["SKIPWAY_CACHE"] = str(Path(name, "cache"))
        _, run, onnx = labelling.prepare(Path(name), photos)
        predictor = Predictor(run, engine="auto", goal="latency", sample=photos[:16])
        own = openvinos_own(onnx)
        ways: dict[str, Callable[[Path], Any]] = {
            "skipway": lambda file: next(iter(predictor.predict([file], top=1))),
            "openvino": own,
        }
        seconds: dict[str, list[float]] = {key: [] for key in ways}
        for i in range(20 + given.images):
            for key, way in ways.items():
                start = time.perf_counter()
                way(photos[i % len(photos)])
                if i >= 20:  # the first ones warm up
                    seconds[key].append(time.perf_counter() - start)
    rows = {key: summary(values) for key, values in seconds.items()}
    ratios = {q: round(rows["skipway"][q] / rows["openvino"][q], 3) for q in ("p50_ms", "p99_ms")}
    what = f"{given.images} photographs one at a time, {labelling.NETWORK} at 224 pixels, in turns"
    save("latency", {"what": what, "engine": predictor.engine.name, "ways": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
