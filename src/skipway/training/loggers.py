"""Loggers for experiment trackers: TensorBoard, MLflow or Weights & Biases, by option.

metrics.jsonl is always written.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from skipway.errors import SkipwayError, UnknownNameError, first_line

Log = Callable[[int, Mapping[str, float]], None]  # (steps done, figures by name)
MISSING = "--track {0} needs {0}: pip install 'skipway[{1}]'"
RUN_ID, WANDB_ID = "mlflow-run-id", "wandb-run-id"  # files of a run's folder


@contextmanager
def no_logger(_out: Path, _recipe: Mapping[str, Any], _step: int) -> Iterator[Log]:
    yield lambda _step, _figures: None


@contextmanager
def tensorboard(out: Path, _recipe: Mapping[str, Any], step: int) -> Iterator[Log]:
    """Event files in RUN/tensorboard; for a run resumed at `step`, later events written before are not shown."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SkipwayError(MISSING.format("tensorboard", "track")) from None
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
        raise SkipwayError(MISSING.format("mlflow", "track")) from None
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


@contextmanager
def wandb(out: Path, recipe: Mapping[str, Any], _step: int) -> Iterator[Log]:
    """A run of Weights & Biases in the project of WANDB_PROJECT, "skipway" unless set, under one id also when resumed;
    with WANDB_MODE=offline in the folder RUN/wandb alone. The recipe is its configuration, and the figures of the last
    epoch its summary; neither code nor what is printed is sent."""
    try:
        import wandb as library
        from wandb.errors import Error
    except ImportError:
        raise SkipwayError(MISSING.format("wandb", "wandb")) from None
    id_file = out / WANDB_ID
    if not id_file.is_file():
        id_file.write_text(secrets.token_hex(4))
    try:
        run = library.init(
            project=os.environ.get("WANDB_PROJECT", "skipway"),
            name=out.name,
            id=id_file.read_text(),
            resume=None if os.environ.get("WANDB_MODE") == "offline" else "allow",
            dir=out,
            config=dict(recipe),
            settings=library.Settings(console="off", disable_code=True, disable_git=True),
        )
    except Error as fault:  # no account, or no network
        raise SkipwayError(
            f"Weights & Biases cannot be used ({first_line(fault)}): run `wandb login`, or set WANDB_MODE=offline"
        ) from None
    code = 1
    try:
        yield lambda at, figures: run.log(dict(figures), step=at)
        code = 0
    finally:
        run.finish(exit_code=code)


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], int], AbstractContextManager[Log]]] = {
    "none": no_logger,
    "tensorboard": tensorboard,
    "mlflow": mlflow,
    "wandb": wandb,
}


def tracker(name: str) -> Callable[[Path, Mapping[str, Any], int], AbstractContextManager[Log]]:
    """The tracker called `name`. Raises UnknownNameError."""
    if name not in TRACKERS:
        raise UnknownNameError("--track", name, TRACKERS, f"one of {', '.join(TRACKERS)}")
    return TRACKERS[name]
