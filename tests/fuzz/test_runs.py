"""run.json and checkpoints: whatever they say, they are refused in one line, or a run can go on from them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from rich.console import Console
from torch import nn

from skipway import hardware
from skipway.bundle import SUMS, sha256
from skipway.data.read_options import ReadOptions
from skipway.training import checkpoint_manager
from skipway.training.checkpoint_manager import STATE, TENSORS
from skipway.training.recipe_fields import validate_recipe
from skipway.training.recipes import QUICK
from skipway.training.run_manifest import NAME, RunManifest, RunOptions, read_manifest
from skipway.training.state_codec import Checkpoint, collect_state, restore_state
from tests.fuzz.changes import as_json, changed, damaged, refused_in_one_line

MANIFEST = {
    "schema": 1,
    "data": "photos",
    "folder": "/somewhere",
    "reading": dataclasses.asdict(ReadOptions()),
    "bad": "error",
    "recipe": dataclasses.asdict(QUICK),
    "hardware": {"device": "cpu", "precision": "float32", "channels_last": "off", "compile_": "off", "workers": 0},
    "upkeep": dataclasses.asdict(RunOptions()),
}
STATE_VALUES = {
    "schema": checkpoint_manager.SCHEMA,
    **{name: {"name": "x"} for name in ("recipe", "network", "code", "hardware")},
    "data": "ab",
    "step": 5,
    "micro": 0,
    "sums": {"loss": 1.0, "steps": 1, "seconds": 2.0, "waited": 0.5, "spent": 3.0},
    "records": [{"epoch": 1, "step": 4, "train_loss": 0.5, "val_top1": 0.25}],
}


def resumed(out: Path) -> RunManifest:
    """What resuming asks of run.json before it opens the data."""
    manifest = read_manifest(out)
    validate_recipe(manifest.recipe)
    hardware.decide(**manifest.hardware)
    ReadOptions(**manifest.reading)
    manifest.place(("digits",))
    return manifest


def test_any_change_of_run_json_is_refused_or_harmless(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(as_json(MANIFEST))
    assert refused_in_one_line(lambda: resumed(tmp_path)) is not None

    @given(changed(MANIFEST))
    def check(document: Any) -> None:
        (tmp_path / NAME).write_bytes(as_json(document))
        refused_in_one_line(lambda: resumed(tmp_path))

    check()


def test_any_damage_to_run_json_is_refused_or_harmless(tmp_path: Path) -> None:
    @given(damaged(as_json(MANIFEST)))
    def check(content: bytes) -> None:
        (tmp_path / NAME).write_bytes(content)
        refused_in_one_line(lambda: resumed(tmp_path))

    check()


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(5, 3)).square().sum().backward()
    optimiser.step()
    return net, optimiser


def checkpoint_in(run: Path) -> Path:
    net, optimiser = network()
    folder = run / checkpoint_manager.FOLDER / checkpoint_manager.name_of(1, 5)
    folder.parent.mkdir(exist_ok=True)
    checkpoint_manager.write(folder, Checkpoint(collect_state(net, [optimiser], None), STATE_VALUES))
    return folder


def sign(folder: Path) -> None:
    """The checksums of somebody who changes the files on purpose."""
    (folder / SUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in (TENSORS, STATE)))


def restored(run: Path) -> Checkpoint:
    """What resuming does with the newest checkpoint."""
    found = checkpoint_manager.newest(run, Console(quiet=True))
    assert found is not None
    net, optimiser = network()
    restore_state(found[1].tensors, net, [optimiser], None)
    json.dumps(found[1].state)
    return found[1]


def test_any_change_of_a_checkpoints_values_is_refused_or_harmless(tmp_path: Path) -> None:
    folder = checkpoint_in(tmp_path)
    assert refused_in_one_line(lambda: restored(tmp_path)) is not None

    @given(changed(STATE_VALUES))
    def check(document: Any) -> None:
        (folder / STATE).write_bytes(as_json(document))
        sign(folder)
        refused_in_one_line(lambda: restored(tmp_path))

    check()


def test_any_damage_to_a_checkpoints_tensors_is_refused_or_harmless(tmp_path: Path) -> None:
    folder = checkpoint_in(tmp_path)

    @given(damaged((folder / TENSORS).read_bytes()))
    def check(content: bytes) -> None:
        (folder / TENSORS).write_bytes(content)
        sign(folder)
        refused_in_one_line(lambda: restored(tmp_path))

    check()
