"""12-megapixel photographs from files to labels: decoded in full, at a reduced scale, and as before. Images a second,
and how many labels stay. results/large_photographs.json

    python -m benchmarks.large_photographs PHOTOS [--files 48] [--rounds 5] [--before SRC]

PHOTOS: a folder of JPEG files; they are enlarged to 4,000 x 3,000 pixels, with noise as of a camera, and stored upright
and, as a phone held upright does, turned by EXIF. SRC: the `src` folder of an earlier version, to be measured too.
The network is that of the embedded weights. Every turn is a process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import save
from skipway import Predictor, bundle
from skipway.commands.import_weights import import_weights
from skipway.data.dataset import Split
from skipway.data.loader import decode_split
from skipway.data.preprocess import Preprocessing
from skipway.training.dataloaders import JPEG_OVERSAMPLING

WIDTH, HEIGHT = 4000, 3000
NOISE = 6.0  # standard deviation, of 255
TURNED = 6  # EXIF's orientation of a phone held upright
# what a turn runs: loads the network, labels four files, then all, and prints the seconds of all
TURN = """
import sys, time
from pathlib import Path
from skipway import Predictor, decide
files = sorted(Path(sys.argv[2]).glob("*.jpg"))
predictor = Predictor(Path(sys.argv[1]), decide("cpu"), "eager")
list(predictor.predict(files[:4]))
start = time.perf_counter()
list(predictor.predict(files))
print(time.perf_counter() - start)
"""


def enlarged(photo: Path, seed: int) -> Image.Image:
    """A photograph at 12 megapixels, with noise: enlarged ones alone are easier to decode than a camera's."""
    image = Image.open(photo).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, NOISE, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def store(photos: list[Path], folder: Path) -> dict[str, Path]:
    """The photographs in two folders, upright and turned."""
    folders = {"upright": folder / "upright", "turned": folder / "turned"}
    for place in folders.values():
        place.mkdir()
    for i, photo in enumerate(photos):
        image, exif = enlarged(photo, i), Image.Exif()
        image.save(folders["upright"] / f"{i:03}.jpg", quality=90)
        exif[0x0112] = TURNED
        turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(folders["turned"] / f"{i:03}.jpg", quality=90, exif=exif)
    return folders


def networks(folder: Path) -> dict[str, Path]:
    """Bundles of the embedded weights whose records decode in full and at a reduced scale."""
    full, reduced = folder / "full", folder / "reduced"
    import_weights("embedded", full)
    card = bundle.read_card(full)
    record = replace(Preprocessing(**card.preprocessing), jpeg_oversampling=JPEG_OVERSAMPLING)
    old = {key: value for key, value in card.preprocessing.items() if key != "jpeg_oversampling"}
    earlier = folder / "earlier"
    for place, preprocessing in ((reduced, vars(record)), (earlier, old)):
        place.mkdir()
        bundle.write(place, bundle.read_weights(full), replace(card, preprocessing=preprocessing))
    return {"in full": full, "reduced": reduced, "before": earlier}


def turn(run: Path, photos: Path, source: Path | None) -> float:
    """Seconds from files to labels in a process of its own."""
    environment = {**os.environ, **({"PYTHONPATH": str(source)} if source else {})}
    command = [sys.executable, "-c", TURN, str(run), str(photos)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(ended.stdout.split()[-1])


def same_labels(runs: dict[str, Path], photos: Path) -> float:
    """The share of photographs with the same label in full and reduced."""
    files = sorted(photos.glob("*.jpg"))
    first, second = (Predictor(runs[name]).predict(files, top=1) for name in ("in full", "reduced"))
    return statistics.fmean(a.label == b.label for a, b in zip(first, second, strict=True))


def decoding(runs: dict[str, Path], photos: Path) -> dict[str, float]:
    """Seconds in which training decodes the photographs into memory, once, by record."""
    files, found = sorted(photos.glob("*.jpg")), {}
    for name in ("in full", "reduced"):
        record = Preprocessing(**bundle.read_card(runs[name]).preprocessing)
        split = Split(files, np.zeros(len(files), np.int64), [str(file) for file in files])
        start = time.perf_counter()
        decode_split(split, record, round(2.2 * record.size))
        found[name] = time.perf_counter() - start
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--files", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path)
    given = parser.parse_args()
    chosen = sorted(path for path in given.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))[: given.files]
    with tempfile.TemporaryDirectory() as temporary:
        folders, runs = store(chosen, Path(temporary)), networks(Path(temporary))
        ways = {"in full": None, "reduced": None} | ({"before": given.before} if given.before else {})
        seconds: dict[str, dict[str, list[float]]] = {place: {way: [] for way in ways} for place in folders}
        for _ in range(given.rounds):
            for place, photos in folders.items():
                for way, source in ways.items():
                    seconds[place][way].append(turn(runs[way], photos, source))
        cases: dict[str, Any] = {}
        for place, photos in folders.items():
            rates = {way: len(chosen) / statistics.median(all_s) for way, all_s in seconds[place].items()}
            others = [way for way in rates if way != "reduced"]
            cases[place] = {
                "images_per_s": {way: round(rate, 2) for way, rate in rates.items()},
                "reduced_over": {way: round(rates["reduced"] / rates[way], 2) for way in others},
                "same_labels": same_labels(runs, photos),
                "decoded_for_training_s": decoding(runs, photos),
                "seconds": seconds[place],
            }
    save("large_photographs", {"what": __doc__.split("\n\n")[0], "files": len(chosen), "rounds": given.rounds} | cases)


if __name__ == "__main__":
    main()
