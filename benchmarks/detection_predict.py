"""From files to boxes beside torchvision's eager script. results/detection_predict.json

    python -m benchmarks.detection_predict BCCD RUN [--rounds 5]

RUN is a network of `benchmarks.detection`, fcos_resnet18_light; torchvision's side is the same network with the same
weights, made of torchvision's parts, with images resized by its transform to the same input.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.transforms.v2 import functional as tv

import skipway
from benchmarks.harness import alternate, save
from skipway.data import open_dataset
from skipway.tasks.detect.task import Detect

BATCH, SIZE, SHORTER = 8, 320, 240
WIDTH, DEPTH = 128, 2  # of the light head


def torchvision_net() -> nn.Module:
    """fcos_resnet18_light of torchvision's parts."""
    layers = {"layer2": "0", "layer3": "1", "layer4": "2"}
    extra = LastLevelP6P7(WIDTH, WIDTH)
    body = BackboneWithFPN(resnet18(weights=None), layers, [128, 256, 512], WIDTH, extra)
    sizes = tuple((side,) for side in (8, 16, 32, 64, 128))
    anchors = AnchorGenerator(sizes, ((1.0,),) * len(sizes))
    head = FCOSHead(WIDTH, anchors.num_anchors_per_location()[0], 3, num_convs=DEPTH)
    return FCOS(body, 3, SHORTER, SIZE, anchor_generator=anchors, head=head, score_thresh=0.05)


def torchvision_script(weights: dict[str, torch.Tensor], files: list[Path]) -> Callable[[], None]:
    """The usual script: files opened by Pillow, the network in lists of BATCH images."""
    net = torchvision_net().eval()
    net.load_state_dict({k: v for k, v in weights.items() if k in net.state_dict()}, strict=True)

    @torch.inference_mode()
    def run() -> None:
        for start in range(0, len(files), BATCH):
            images = []
            for file in files[start : start + BATCH]:
                with Image.open(file) as image:
                    images.append(tv.to_dtype(tv.pil_to_tensor(image.convert("RGB")), torch.float32, scale=True))
            net(images)

    return run


def postprocessing(predictor: skipway.Predictor, files: list[Path]) -> float:
    """The share of suppression and mapping back in the time of predicting `files`."""
    task = predictor.task
    assert isinstance(task, Detect)
    start = time.perf_counter()
    scored = list(predictor.scored(iter(files)))
    network = time.perf_counter() - start
    start = time.perf_counter()
    for name, found in scored:
        assert not isinstance(found, Exception)
        task.predict(name, found.outputs, found.size, 1.0, 5)
    spent = time.perf_counter() - start
    return spent / (spent + network)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bccd", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    files = [Path(str(item)) for item in open_dataset(str(given.bccd)).split("val").items]
    predictors = {name: skipway.Predictor(given.run, engine=name, sample=files[:16]) for name in ("auto", "eager")}
    candidates: dict[str, Callable[[], None]] = {
        f"skipway {name}": lambda one=one: list(one.predict(files)) and None for name, one in predictors.items()
    }
    candidates["torchvision script"] = torchvision_script(predictors["eager"].net.state_dict(), files)
    found = alternate(candidates, given.rounds)
    engine = predictors["auto"].engine
    speeds = {name: round(len(files) / row["median_s"], 2) for name, row in found.items()}
    save(
        "detection_predict",
        {
            "what": "fcos_resnet18_light, input 256 x 320, photographs of 640 x 480, files to boxes; images a second",
            "rounds": given.rounds,
            "files": len(files),
            "images_per_s": speeds,
            "ratios": {
                f"auto over {name}": round(speeds["skipway auto"] / speed, 3)
                for name, speed in speeds.items()
                if name != "skipway auto"
            },
            "auto": f"{engine.name} {dict(engine.options)}",
            "postprocessing_share": round(postprocessing(predictors["auto"], files), 4),
            "seconds": found,
        },
    )


if __name__ == "__main__":
    main()
