"""Figures elsewhere: what TensorBoard, MLflow and Weights & Biases read is what the run had."""

import json
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small import CPU, QUIET, SHORT, few_digits, killed_at

from skipway.errors import SkipwayError, UnknownNameError
from skipway.training import loop
from skipway.training.loggers import tracker
from skipway.training.run_manifest import RunOptions

ONE = replace(SHORT, epochs=1, model="resnet20")


def record(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.filterwarnings("ignore")  # of the libraries' own
def test_tensorboard_reads_the_figures_of_the_run(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = loop.train(few_digits(), ONE, tmp_path / "run", CPU, QUIET, options=RunOptions(track="tensorboard"))
    read = events.EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    for name, value in record(run).items():
        (event,) = read.Scalars(name)
        assert event.step == 11
        assert event.value == pytest.approx(value, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_one_run_also_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    options = RunOptions(track="mlflow")
    run = loop.train(few_digits(), ONE, tmp_path / "run", CPU, QUIET, options=options)
    loop.train(few_digits(), ONE, run, CPU, QUIET, resume=True, options=options)
    client = mlflow.MlflowClient((run / "mlruns").as_uri())
    (found,) = client.search_runs(["0"])
    assert found.info.status == "FINISHED"
    assert found.data.params["model"] == "resnet20"
    assert found.data.metrics["val_top1"] == record(run)["val_top1"]


def wandb_records(folder: Path) -> dict[str, list]:
    """What the files of a run's offline folders hold, by the kind of record.

    LevelDB's log format after 7 bytes of W&B's own, in blocks of 32,768 bytes; a part of a record has a checksum (4),
    its length (2) and its kind (1) before it.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, list] = {}
    for file in sorted(folder.glob("offline-run-*/*.wandb")):
        data, at, content = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if (left := -at % 32_768) and left < 7:  # a block's end is filled up
                at += left
                continue
            length, kind = struct.unpack_from("<HB", data, at + 4)
            content += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # whole, or the last part
                record, content = Record.FromString(content), b""
                found.setdefault(record.WhichOneof("record_type"), []).append(record)
    return found


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_has_configuration_figures_and_one_id_also_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    two, options = replace(ONE, epochs=2), RunOptions(track="wandb", checkpoint_steps=2)
    with killed_at(16):
        loop.train(few_digits(), two, tmp_path / "run", CPU, QUIET, options=options)
    run = loop.train(few_digits(), two, tmp_path / "run", CPU, QUIET, resume=True, options=options)
    kept = wandb_records(run / "wandb")
    begun = [record.run for record in kept["run"]]
    assert {one.run_id for one in begun} == {(run / "wandb-run-id").read_text()}
    assert {one.project for one in begun} == {"skipway"}
    configured = {item.key: json.loads(item.value_json) for item in begun[0].config.update}
    assert (configured["model"], configured["epochs"]) == ("resnet20", 2)
    rows = [
        {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in kept["history"]
    ]
    assert [row["_step"] for row in rows] == [11, 22]
    assert rows[-1].items() >= record(run).items()
    assert [one.exit.exit_code for one in kept["exit"]] == [1, 0]


def test_a_missing_tracker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SkipwayError, match=r"^--track wandb needs wandb: pip install 'skipway\[wandb\]'$"):
        tracker("wandb")(tmp_path, {}, 0).__enter__()


@pytest.mark.filterwarnings("ignore")
def test_wandb_without_an_account_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    library.teardown()  # which forgets the mode of before
    with pytest.raises(SkipwayError, match=r"run `wandb login`, or set WANDB_MODE=offline$"):
        tracker("wandb")(tmp_path, {}, 0).__enter__()


def test_an_unknown_tracker_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tensorboard'"):
        tracker("tensorbord")
