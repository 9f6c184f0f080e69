"""What predict.py and latency.py share: a network, photographs, and the ways in which others label them."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from skipway import models
from skipway.commands import import_weights
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, for_photographs
from skipway.models.pretrained.registry import imagenet_classes

NETWORK = "resnet50"
WORKERS = 2


def network(photos: list[Path]) -> nn.Module:
    """Random weights, the statistics of its norms taken from photographs, so that activations have a usual size."""
    torch.manual_seed(0)
    net = models.build(NETWORK)
    shown = for_photographs(224)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over what is seen
    with torch.no_grad():
        net.train()(shown.normalised(torch.stack([shown.open(p, str(p)) for p in photos[:32]])))
    return net.eval()


def prepare(folder: Path, photos: list[Path]) -> tuple[Path, Path, Path]:
    """In `folder`: the weights, a bundle of them, and the ONNX file that the OpenVINO script takes."""
    net = network(photos)
    weights, run, onnx = folder / "net.pth", folder / "run", folder / "net.onnx"
    torch.save(net.state_dict(), weights)
    import_weights.import_weights(
        str(weights), run, NETWORK, import_weights.InputOptions("imagenet", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    )
    torch.onnx.export(net, (torch.zeros(8, 3, 224, 224),), str(onnx), dynamo=True, external_data=False, verbose=False)
    return weights, run, onnx


def labelled_folder(folder: Path, run: Path, photos: list[Path]) -> Path:
    """The photographs as class folders under what eager says of them: what int8 is to agree with."""
    from skipway import Predictor, decide

    for photo, answer in zip(photos, Predictor(run, decide("cpu")).predict(photos, top=1), strict=True):
        place = folder / answer.label
        place.mkdir(parents=True, exist_ok=True)
        (place / photo.name).symlink_to(photo.resolve())
    return folder


class Photos(torch.utils.data.Dataset):
    """As people write it: a path opened by Pillow and put through a transform."""

    def __init__(self, files: list[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        return self.transform(Image.open(self.files[i]).convert("RGB"))


def label_all(files: list[Path], transform: Callable[[Image.Image], Tensor], net: Callable[[Tensor], Tensor]) -> list:
    """The names of every file's class, by a DataLoader of two workers."""
    names, found = imagenet_classes(), []
    with torch.inference_mode():
        for images in torch.utils.data.DataLoader(Photos(files, transform), 32, num_workers=WORKERS):
            found += [names[i] for i in net(images).argmax(1).tolist()]
    return found


def torchvision_script(weights: Path, files: list[Path]) -> float:
    """torchvision's usual script, eager float32. Images a second, loading included."""
    import torchvision
    from torchvision import transforms as t

    start = time.perf_counter()
    net = torchvision.models.get_model(NETWORK)
    net.load_state_dict(torch.load(weights, weights_only=True))
    crop = t.Compose([t.Resize(256), t.CenterCrop(224), t.ToTensor(), t.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    label_all(files, crop, net.eval())
    return len(files) / (time.perf_counter() - start)


def timm_script(weights: Path, files: list[Path]) -> float:
    """timm with torch.compile, channels-last and bfloat16. Images a second, without the time of compiling."""
    import timm

    net = timm.create_model(NETWORK).eval().to(memory_format=torch.channels_last)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=net))
    compiled = torch.compile(net)

    def run(images: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return compiled(images.contiguous(memory_format=torch.channels_last))

    with torch.inference_mode():
        for count in {32, len(files) % 32 or 32}:
            run(torch.zeros(count, 3, 224, 224))
    start = time.perf_counter()
    label_all(files, transform, run)
    return len(files) / (time.perf_counter() - start)


def skipway(run: Path, files: list[Path], engine: str) -> float:
    """Ours. Images a second, reading the bundle and building the engine (from its store) included."""
    from skipway import Predictor

    start = time.perf_counter()
    answers = list(Predictor(run, engine=engine).predict(files, top=1))
    assert len(answers) == len(files)
    return len(files) / (time.perf_counter() - start)


def openvino_script(script: Path, onnx: Path, files: list[Path], plain: bool) -> float:
    """../shared/baselines/openvino_pipeline.py. Images a second as it prints them, compilation included."""
    command = [
        sys.executable,
        str(script),
        str(onnx),
        *map(str, files),
        "--repeat",
        "1",
        *(["--plain"] if plain else []),
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"([\d.]+) images/s", said)
    assert found
    return float(found.group(1))
