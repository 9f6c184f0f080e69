"""What int8 costs in accuracy, behind its gate. results/int8.json

    python -m benchmarks.int8 DATA RUN... [--max-drop 0.5]

DATA has a train and a test split (CIFAR-10's folder of parquet); 300 images of train calibrate, all of test judge. Each
RUN is judged as it is and made hostile: in every unit one channel a thousandfold and its inverse in the next layer.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import save
from skipway import bundle
from skipway.deploy.export.export import ExportRequest, export
from skipway.errors import SkipwayError
from skipway.trained import TrainedModel


def hostile(run: Path, out: Path) -> Path:
    """A bundle of the same function as `run`, in numbers that int8 cannot hold: units of two convolutions alone."""
    trained = TrainedModel.load(run)
    net, card = trained.net, trained.card
    with torch.no_grad():
        for stage in net.stages:
            for unit in net.get_submodule(stage):
                unit.bn1.weight[0] *= 1000
                unit.bn1.bias[0] *= 1000
                unit.conv2.weight[:, 0] /= 1000
    out.mkdir()
    bundle.write(out, net.state_dict(), card)
    return out


def judged(run: Path, data: str, max_drop: float, out: Path) -> dict[str, Any]:
    """The gate's figures, every try in words."""
    said: list[str] = []
    try:
        found = export(run, ExportRequest("openvino", out, data=data, max_drop=max_drop), said.append).evidence["int8"]
    except SkipwayError as fault:
        return {"accepted": False, "why": str(fault), "tries": said}
    return {"accepted": True, **found, "tries": said}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--max-drop", type=float, default=0.5)
    given = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        for i, run in enumerate(given.runs):
            network = bundle.read_card(run).network["name"]
            folder = Path(name, str(i))
            folder.mkdir()
            rows[f"{network}, {run.name}"] = judged(run, given.data, given.max_drop, folder / "plain")
            made = hostile(run, folder / "hostile")
            rows[f"{network}, {run.name}, made hostile"] = judged(made, given.data, given.max_drop, folder / "mended")
    what = "accuracy of int8 beside eager float32, calibrated on 300 images of train, judged on test"
    save("int8", {"what": what, "max_drop": given.max_drop, "networks": rows})


if __name__ == "__main__":
    main()
