"""Loggers for experiment trackers: TensorBoard or MLflow, by option. metrics.jsonl is always written."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from skipway.errors import SkipwayError, UnknownNameError

Log = Callable[[int, Mapping[str, float]], None]  # (steps done, figures by name)
MISSING = "--track {0} needs {0}: pip install 'skipway[track]'"
RUN_ID = "mlflow-run-id"


@contextmanager
def no_logger(_out: Path, _recipe: Mapping[str, Any], _step: int) -> Iterator[Log]:
    yield lambda _step, _figures: None


@contextmanager
def tensorboard(out: Path, _recipe: Mapping[str, Any], step: int) -> Iterator[Log]:
    """Event files in RUN/tensorboard; for a run resumed at `step`, later events written before are not shown."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SkipwayError(MISSING.format("tensorboard")) from None
    writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)

    def log(at: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, at)

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def mlflow(out: Path, recipe: Mapping[str, Any], _step: int) -> Iterator[Log]:
    """A run on the server of MLFLOW_TRACKING_URI, or in the folder RUN/mlruns; the same one when resumed."""
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError:
        raise SkipwayError(MISSING.format("mlflow")) from None
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow prefers a database; a folder needs none
    client = MlflowClient(None if "MLFLOW_TRACKING_URI" in os.environ else (out / "mlruns").absolute().as_uri())
    id_file = out / RUN_ID
    if not id_file.is_file():
        started = client.create_run("0", run_name=out.name)
        client.log_batch(started.info.run_id, params=[Param(k, str(v)) for k, v in recipe.items()])
        id_file.write_text(started.info.run_id)
    run = id_file.read_text()

    def log(at: int, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        client.log_batch(run, metrics=[Metric(name, value, now, at) for name, value in figures.items()])

    client.update_run(run, "RUNNING")
    status = "FAILED"
    try:
        yield log
        status = "FINISHED"
    finally:
        client.set_terminated(run, status)


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], int], AbstractContextManager[Log]]] = {
    "none": no_logger,
    "tensorboard": tensorboard,
    "mlflow": mlflow,
}


def tracker(name: str) -> Callable[[Path, Mapping[str, Any], int], AbstractContextManager[Log]]:
    """The tracker called `name`. Raises UnknownNameError."""
    if name not in TRACKERS:
        raise UnknownNameError("--track", name, TRACKERS, f"one of {', '.join(TRACKERS)}")
    return TRACKERS[name]
