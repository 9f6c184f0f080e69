"""`python -m benchmarks.gpu` without a GPU: its cases run dry, and what it has is written as each one ends."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_timing import Bench, compare


def rows_of(name: str, tmp_path: Path) -> list[dict[str, Any]]:
    rows = tmp_path / "rows.jsonl"
    rows.touch()
    gpu.one_case(name, Bench(True, None, rows))
    return [json.loads(line) for line in rows.read_text().splitlines()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a CUDA device nothing is left out")
def test_a_dry_case_measures_what_runs_here_and_names_what_does_not(tmp_path: Path) -> None:
    found = {row["side"]: row for row in rows_of("resnet20", tmp_path)}
    for side in ("eager", "eager, with its loader"):
        assert found[side]["images_per_s"] > 0
        assert found[side]["peak_mib"] is None
    for side in ("CUDA graphs", "CUDA graphs, with its loader"):
        assert found[side]["skipped"] == "recording needs a CUDA device"
    assert rows_of("fast-cifar", tmp_path)[-1]["skipped"].startswith("no copy of CIFAR-10")


def test_a_side_that_fails_leaves_the_others_their_turn(tmp_path: Path) -> None:
    def broken() -> Any:
        raise RuntimeError("CUDA error: out of memory\nand more")

    rows = tmp_path / "rows.jsonl"
    compare(Bench(True, None, rows), "adding", {"broken": broken, "whole": lambda: lambda: None}, images=8)
    first, second = (json.loads(line) for line in rows.read_text().splitlines())
    assert first == {"what": "adding", "side": "broken", "failed": "RuntimeError: CUDA error: out of memory"}
    assert (second["side"], second["first_over_it"]) == ("whole", None), "the side to compare with did not run"


def test_results_are_written_as_each_case_ends_and_what_no_longer_fits_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "gpu.json", []

    def run_case(name: str, *given: Any) -> dict[str, Any]:
        seen.append(sorted(json.loads(out.read_text())["cases"]) if out.exists() else [])
        if name == "resnet56":
            raise KeyboardInterrupt
        return {"seconds": 1.0, "rows": [{"what": name, "side": "ours", "images_per_s": 5.0, "ms": 2.0}]}

    monkeypatch.setattr(gpu, "run_case", run_case)
    only = ["--only", "resnet20", "resnet50-compiled", "resnet56"]
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(out), "--budget", "100", *only])
    with pytest.raises(KeyboardInterrupt):
        gpu.main()
    cases = json.loads(out.read_text())["cases"]
    assert seen == [[], ["resnet20"]]
    assert cases.keys() == {"resnet20"}
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(out), "--budget", "100", *only[:3]])
    gpu.main()
    cases = json.loads(out.read_text())["cases"]
    assert cases["resnet20"]["rows"][0]["images_per_s"] == 5.0
    assert cases["resnet50-compiled"]["skipped"].endswith("were left of 100, and it takes 140")
