"""Figures elsewhere: what TensorBoard and MLflow read is what the run had."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small import CPU, QUIET, SHORT, few_digits

from skipway.errors import UnknownNameError
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


def test_an_unknown_tracker_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tensorboard'"):
        tracker("tensorbord")
