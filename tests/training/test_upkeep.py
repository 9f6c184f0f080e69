"""What a run was begun with, on disk and back; determinism; the line that moves."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mutated import mutations
from small import CPU, QUIET, SHORT, few_digits

from skipway import hardware
from skipway.cli import options as options_of_verbs
from skipway.errors import BundleError, SkipwayError
from skipway.training import loop
from skipway.training.run_manifest import RunOptions, hardware_arguments, read_manifest, write_manifest
from skipway.training.state_codec import NAME


def test_what_a_run_was_begun_with_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, options = replace(SHORT, milestones=(0.2, 0.4), background=(1, 2, 3)), RunOptions(7, 5.5, "none", True)
    monkeypatch.chdir(tmp_path)
    write_manifest(tmp_path, replace(few_digits(), left_out=(("a", "b"),)), recipe, CPU, options)
    manifest = read_manifest(tmp_path)
    assert (manifest.recipe, manifest.options, manifest.bad, manifest.data) == (recipe, options, "skip", "digits")
    back = hardware.decide(**manifest.hardware)
    assert (back.device, back.dtype, back.memory_format, back.workers) == (
        CPU.device,
        CPU.dtype,
        CPU.memory_format,
        CPU.workers,
    )
    assert manifest.place(("digits",)) == "digits"
    moved = replace(manifest, data="photos")
    assert moved.place(("digits",)) == "photos"
    monkeypatch.chdir("/")
    assert moved.place(("digits",)) == f"{tmp_path}/photos"
    assert replace(manifest, data="hf:a/b").place(("digits",)) == "hf:a/b"
    assert hardware_arguments(back) == manifest.hardware
    assert hardware_arguments(options_of_verbs.decide(**manifest.hardware)) == manifest.hardware


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no run to resume \(run\.json is missing\)"):
        read_manifest(tmp_path)


def test_300_mutated_beginnings_are_read_or_refused_in_a_line(tmp_path: Path) -> None:
    write_manifest(tmp_path, few_digits(), SHORT, CPU, RunOptions())
    whole, refused = (tmp_path / NAME).read_bytes(), 0
    for content in mutations(whole, 300, random.Random(5)):
        (tmp_path / NAME).write_bytes(content)
        try:
            read_manifest(tmp_path)
        except BundleError as fault:
            refused += 1
            assert "\n" not in str(fault)
            assert len(str(fault)) < 600
    assert refused > 150


def test_upkeep_that_cannot_be_is_refused() -> None:
    for wrong in ({"checkpoint_steps": -1}, {"checkpoint_seconds": -1.0}, {"checkpoint_seconds": float("nan")}):
        with pytest.raises(SkipwayError, match="must not be negative"):
            RunOptions(**wrong)


def test_determinism_is_for_the_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[bool] = []
    one_epoch = loop.train_epoch

    def watched(*given: Any) -> None:
        during.append(torch.are_deterministic_algorithms_enabled())
        one_epoch(*given)

    monkeypatch.setattr(loop, "train_epoch", watched)
    recipe = replace(SHORT, epochs=1)
    for deterministic in (True, False):
        options = RunOptions(deterministic=deterministic)
        loop.train(few_digits(), recipe, tmp_path / str(deterministic), CPU, QUIET, options=options)
    assert during == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_metrics_are_a_json_line_an_epoch_whatever_is_tracked(tmp_path: Path) -> None:
    run = loop.train(few_digits(), replace(SHORT, epochs=2), tmp_path / "run", CPU, QUIET)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all({"images_per_second", "waiting", "memory_gib", "seconds"} <= line.keys() for line in lines)
