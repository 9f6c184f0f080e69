"""`auto`: measured once, never an engine that disagrees, and remembered."""

import json
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from skipway import bundle
from skipway.deploy.engines import eager
from skipway.deploy.engines import selection as choosing
from skipway.deploy.engines.base import Engine, EngineInput, EngineKind, EngineMissingError, Options, run_synchronously
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.sample_images import Samples
from skipway.tasks.base import Outputs
from skipway.trained import TrainedModel

from .conftest import as_trained, random_images


def changed(by: float) -> EngineKind:
    """An engine that is eager, with `by` added to its first score."""

    def build(trained: EngineInput, options: Options) -> Engine:
        true = eager.build(trained, options)

        def run(images: Tensor) -> Tensor:
            (scores,) = true.submit(images).result()
            return scores + torch.eye(scores.shape[1])[0] * by

        return replace(true, name="changed", submit=run_synchronously(run))

    return EngineKind(build, lambda trained: [{}])


def missing(trained: EngineInput) -> list[Options]:
    raise EngineMissingError("no such library: pip install it")


def broken(trained: EngineInput, options: Options) -> Engine:
    raise RuntimeError("segments overlap\nand much more")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tried(monkeypatch: pytest.MonkeyPatch, run: Path, speeds: dict[str, float], say) -> choosing.EngineChoice:
    """A choice among eager, one that agrees, one that does not and one that is missing, of the given speeds."""
    kinds = {
        "eager": eager.KIND,
        "close": changed(0.0),
        "wrong": changed(5.0),
        "broken": EngineKind(broken, lambda trained: [{}]),
        "absent": EngineKind(eager.build, missing),
    }
    monkeypatch.setattr(choosing, "ENGINES", kinds)
    order = iter(speeds.values())
    monkeypatch.setattr(choosing, "measure_speed", lambda engine, inputs, seconds: (next(order), 1.0))
    card = bundle.read_card(run)
    trained = as_trained(TrainedModel.load(run).net)
    return choosing.select_engine(trained, card, lambda: Samples((random_images(8),), None, "8 images"), say)


def test_the_fastest_that_agrees_is_chosen_and_the_others_are_named(
    run: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    choice = tried(monkeypatch, run, {"eager": 10, "close": 20, "wrong": 30}, said.append)
    assert choice.engine == "close"
    assert {row.engine: row.verdict for row in choice.rows} == {
        "eager": "agrees",
        "close": "agrees",
        "wrong": "disagrees",
        "broken": "missing",
        "absent": "missing",
    }
    text = "\n".join(said)
    assert "wrong: 30.0 images/s" in text
    assert "disagrees" in text
    assert "no such library" in text
    assert "broken: left out, segments overlap" in text


def test_a_choice_is_remembered_and_explained(run: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tried(monkeypatch, run, {"eager": 30, "close": 20, "wrong": 10}, lambda line: None)
    said: list[str] = []
    again = tried(monkeypatch, run, {}, said.append)  # nothing is left to measure with
    assert again == first
    assert not said
    (file,) = (own_cache / "engines").glob("*/choice-throughput.json")
    kept = json.loads(file.read_bytes())
    assert list(kept) == ["engine", "options", "goal", "images", "network", "machine", "rows"]
    (row,) = choosing.doctor_rows()
    assert row["value"] == "eager"
    assert "close 20/s" in row["why"]
    assert "wrong disagrees" in row["why"]


def test_other_weights_are_measured_anew(run: Path, own_cache: Path) -> None:
    card = bundle.read_card(run)
    hardware = as_trained(torch.nn.Identity()).hardware
    folder = choosing.folder_of(card, hardware)
    others = (
        replace(card, weights_sha256="0" * 64),
        replace(card, preprocessing={**card.preprocessing, "size": 64}),
    )
    assert len({folder, *(choosing.folder_of(other, hardware) for other in others)}) == 3
    assert choosing.folder_of(card, replace(hardware, threads=97)) != folder


def test_a_spoilt_memory_is_not_believed(tmp_path: Path) -> None:
    for content in (b"", b"{}", b'{"rows": [{"engine": 1}]}', b"[]"):
        (tmp_path / "choice.json").write_bytes(content)
        assert choosing.read_choice(tmp_path / "choice.json") is None


def test_openvino_is_kept_for_the_next_time(run: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skipway.deploy.engines import openvino_cpu

    first = Predictor(run, engine="openvino", goal="latency")
    monkeypatch.setattr(openvino_cpu, "openvino_graph", lambda trained: pytest.fail("converted again"))
    again = Predictor(run, engine="openvino", goal="latency")
    images = random_images(2)
    assert torch.equal(first.engine.scores(images), again.engine.scores(images))
    (kept,) = (own_cache / "engines").glob("*/openvino.xml")
    kept.write_text("spoilt")
    monkeypatch.undo()
    monkeypatch.setenv("SKIPWAY_CACHE", str(own_cache))
    mended = Predictor(run, engine="openvino", goal="latency")
    assert torch.equal(first.engine.scores(images), mended.engine.scores(images))


def test_calls_under_way_are_counted_once() -> None:
    calls = []

    def submit(images: Tensor) -> Future[Outputs]:
        calls.append(len(images))
        done: Future[Outputs] = Future()
        done.set_result((images,))
        return done

    engine = Engine("counting", "float32", {}, 4, 3, submit)
    per_second, alone = choosing.measure_speed(engine, [random_images(2)], seconds=0)
    assert set(calls) == {4}
    assert per_second > 0
    assert alone >= 0


def test_a_small_gain_pays_neither_for_a_longer_start_nor_for_unusual_options() -> None:
    def row(engine: str, speed: float, milliseconds: float, verdict: str = "agrees") -> choosing.EngineTiming:
        return choosing.EngineTiming(engine, {"batch": int(speed)}, "float32", speed, milliseconds, verdict, "")

    rows = [
        row("eager", 10, 9),
        row("soon", 95, 4),
        row("soon", 99, 5),
        row("late", 104, 1),
        row("wrong", 200, 0.1, "no"),
    ]
    assert choosing.fastest(rows, "throughput") == rows[1]
    assert choosing.fastest([row("soon", 80, 4), *rows[2:]], "throughput") == rows[2]
    assert choosing.fastest(rows, "latency") == rows[3]
    assert choosing.fastest([*rows, row("later", 150, 3)], "throughput").engine == "later"
