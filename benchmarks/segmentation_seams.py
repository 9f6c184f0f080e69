"""Label maps by tiles beside those of the network on the image in one piece. results/segmentation_seams.json

    python -m benchmarks.segmentation_seams RUN CAMVID [--images 8] [--scale 2]

Images of val at even distances, enlarged, so that they are larger than the network's input. A pixel is undecided where
the two best scores of the image in one piece are nearly equal, as in the comparison of engines. `percent` is what the
package does; `one_tile` is the tile nearest to the image's centre by itself, by the distance from its own edge: where
the difference stays away from the edge too, what is missing is not weight but what lies around the tile.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import skipway
from benchmarks.harness import save
from skipway import hardware
from skipway.deploy.predict.tiles import OVERLAP, starts
from skipway.tasks.segment.stitcher import POWER

MARGIN = 0.1  # between the two best scores, in deviations of all scores, as in the comparison of bfloat16 engines
RINGS = (0, 20, 40, 80, 120, 180)  # pixels from a tile's edge


def enlarged(file: Path, scale: int) -> np.ndarray:
    """uint8 (H, W, 3)."""
    image = Image.open(file).convert("RGB")
    return np.asarray(image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC))


def differing(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """Percent of the pixels whose label is not that of `scores` (C, H, W), and of those that are decided as well."""
    best = scores.topk(2, 0)
    decided = best.values[0] - best.values[1] > MARGIN * scores.std()
    other = best.indices[0] != labels
    return 100 * float(other.float().mean()), 100 * float((other & decided).float().mean())


def of_one_tile(predictor: skipway.Predictor, pixels: Tensor, whole: Tensor) -> list[float]:
    """Percent of the pixels that differ in the rings of the tile nearest to the centre."""
    height, width = predictor.preprocessing.canvas
    top, left = (found[len(found) // 2] for found in (starts(pixels.shape[1], height), starts(pixels.shape[2], width)))
    part = pixels[:, top : top + height, left : left + width]
    [scores] = predictor.engine.outputs(part[None])
    other = scores[0].argmax(0) != whole[:, top : top + height, left : left + width].argmax(0)
    rows, columns = (torch.minimum(torch.arange(n) + 1, n - torch.arange(n)) for n in (height, width))
    away = torch.minimum(rows[:, None], columns)
    return [round(100 * float(other[(away > low) & (away <= high)].float().mean()), 2) for low, high in pairwise(RINGS)]


@torch.inference_mode()
def seams_of(predictor: skipway.Predictor, net: torch.nn.Module, file: Path, scale: int) -> dict[str, Any]:
    """The figures of an image."""
    image = enlarged(file, scale)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)
    whole = net(pixels[None])[0]
    labels = torch.from_numpy(predictor.predict(image, tiles=True).labels)  # type: ignore[attr-defined]
    every, decided = differing(whole, labels)
    return {
        "image": file.name,
        "pixels": list(image.shape[:2]),
        "percent": round(every, 3),
        "percent_decided": round(decided, 3),
        "one_tile": of_one_tile(predictor, pixels, whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--scale", type=int, default=2)
    given = parser.parse_args()
    predictor = skipway.Predictor(given.run, hardware.decide("cpu"))
    net = predictor.task.deployed(predictor.net, predictor.preprocessing).eval()
    files = sorted((given.data / "val").iterdir())
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, given.images).round().astype(int)]
    rows = []
    for file in chosen:
        rows.append(seams_of(predictor, net, file, given.scale))
        print(rows[-1], flush=True)
    save(
        "segmentation_seams",
        {
            "what": "percent of the pixels whose class by tiles is not that of the network on the image in one piece",
            "network": predictor.card.network["name"],
            "enlarged": given.scale,
            "overlap": OVERLAP,
            "power_of_the_weights": POWER,
            "rings_pixels_from_the_edge": list(RINGS),
            "percent": round(float(np.mean([row["percent"] for row in rows])), 3),
            "percent_decided": round(float(np.mean([row["percent_decided"] for row in rows])), 3),
            "images": rows,
        },
    )


if __name__ == "__main__":
    main()
