"""What the tests of the server share: a tiny bundle, small limits, images, and plain connections."""

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skipway import bundle
from skipway.bundle import Card
from skipway.deploy.serve import server
from skipway.deploy.serve.limits import Limits
from skipway.models import build

CLASSES = ["Apfel", "Birne", "Rübe", "赤い魚"]
SIDE = 16
LIMITS = Limits(body_bytes=300_000, images=4, pixels=100_000, frames=5, scans=12, head_seconds=0.5, body_seconds=1.0)


def strict(**changes: object) -> Limits:
    """LIMITS with some of them changed."""
    return replace(LIMITS, **changes)


def write_bundle(folder: Path) -> Path:
    """resnet20 for 4 classes of colour images of 16 pixels, not trained, calibrated."""
    torch.manual_seed(0)
    net = build("resnet20", classes=len(CLASSES), channels=3)
    with torch.no_grad():
        net.train()(torch.randn(8, 3, SIDE, SIDE))  # statistics that are not the defaults
        net.fc.weight.mul_(8)  # answers that differ from image to image
    card = Card(
        task="classify",
        network={"name": "resnet20", "classes": len(CLASSES), "channels": 3},
        classes=CLASSES,
        preprocessing={"channels": 3, "size": SIDE, "resize": 18, "mean": [0.5] * 3, "std": [0.25] * 3},
        recipe={"name": "quick", "epochs": 0},
        data={"name": "fruit", "fingerprint": ""},
        hardware={},
        versions={"torch": torch.__version__},
        commit="unknown",
        created="2026-01-02T03:04:05+00:00",
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=1.0,
        metrics={"val": {"top1": 0.25, "top1_interval": [0.2, 0.3], "top5": 1.0, "loss": 1.4, "n": 100}},
        calibration={"temperature": 1.7, "split": "val", "n": 100},
    )
    folder.mkdir(parents=True)
    bundle.write(folder, net.state_dict(), card)
    return folder


def picture(width: int = 40, height: int = 30, seed: int = 0, kind: str = "JPEG", **options: object) -> bytes:
    """An encoded image of smooth colours, other ones for every seed."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(stream, kind, **options)
    return stream.getvalue()


@contextmanager
def listening(folder: Path, limits: Limits = LIMITS, key: str = "") -> Iterator[str]:
    """The server of `folder` in a thread of this process, configured as `skipway serve` does; gives its address."""
    with serving(server.Settings(folder, "cpu", "eager", 1, 2, limits, key)) as address:
        yield address


@contextmanager
def serving(settings: server.Settings) -> Iterator[str]:
    """The server of `settings` in a thread of this process; gives its address."""
    running = server.server(server.configuration(settings))
    bound = server.listener("127.0.0.1", 0)  # last: where the bundle is refused, no socket is left open
    bound.listen()
    thread = threading.Thread(target=running.run, args=([bound],))
    thread.start()
    try:
        yield server.address_of(bound)
    finally:
        running.should_exit = True
        thread.join()


def connected(address: str) -> socket.socket:
    """A plain connection, so that a test can speak badly."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def heard(connection: socket.socket) -> bytes:
    """Everything that the server says until it closes."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said
