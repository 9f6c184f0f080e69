"""Figures to where people watch runs: TensorBoard or MLflow, by option. metrics.jsonl is written whatever is chosen."""

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
def nowhere(_out: Path, _recipe: Mapping[str, Any], _step: int) -> Iterator[Log]:
    yield lambda _step, _figures: None


@contextmanager
def tensorboard(out: Path, _recipe: Mapping[str, Any], step: int) -> Iterator[Log]:
    """Event files in RUN/tensorboard; what a run that is resumed at `step` had written after it is not shown."""
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
    """A run of the tracking server that MLFLOW_TRACKING_URI names, or of the folder RUN/mlruns; resumed, the same."""
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError:
        raise SkipwayError(MISSING.format("mlflow")) from None
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it prefers a database, a folder needs none
    client = MlflowClient(None if "MLFLOW_TRACKING_URI" in os.environ else (out / "mlruns").absolute().as_uri())
    noted = out / RUN_ID
    if not noted.is_file():
        started = client.create_run("0", run_name=out.name)
        client.log_batch(started.info.run_id, params=[Param(k, str(v)) for k, v in recipe.items()])
        noted.write_text(started.info.run_id)
    run = noted.read_text()

    def log(at: int, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        client.log_batch(run, metrics=[Metric(name, value, now, at) for name, value in figures.items()])

    client.update_run(run, "RUNNING")
    ended = "FAILED"
    try:
        yield log
        ended = "FINISHED"
    finally:
        client.set_terminated(run, ended)


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], int], AbstractContextManager[Log]]] = {
    "none": nowhere,
    "tensorboard": tensorboard,
    "mlflow": mlflow,
}


def tracker(name: str) -> Callable[[Path, Mapping[str, Any], int], AbstractContextManager[Log]]:
    """The tracker called `name`. Raises UnknownNameError."""
    if name not in TRACKERS:
        raise UnknownNameError("--track", name, TRACKERS, f"one of {', '.join(TRACKERS)}")
    return TRACKERS[name]
