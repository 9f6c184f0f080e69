"""A run as its folder tells it, for lists of runs."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FINISHED, UNFINISHED, BROKEN, FOREIGN = "finished", "unfinished", "broken", "no run"


@dataclass(frozen=True)
class RunRow:
    """A run as its folder tells it; it can be given wherever the path of a run can be.

    state: finished, unfinished, broken, or no run; note: where an unfinished run is, or what is wrong with another.
    metric: the name of the task's main figure; val, test: its values, None where it was not measured; shares: whether
    it is a share of 1. images_per_second: of the last epoch; seconds: of the training; bytes: of the files in the
    folder itself, without checkpoints, exports and reports; created: ISO 8601, UTC. settings: what two runs may differ
    in, by name: the recipe, the data, versions.
    """

    path: Path
    name: str
    state: str
    note: str = ""
    task: str = ""
    network: str = ""
    recipe: str = ""
    data: str = ""
    metric: str = ""
    val: float | None = None
    test: float | None = None
    higher_is_better: bool = True
    shares: bool = True
    images_per_second: float | None = None
    seconds: float | None = None
    epochs: int | None = None
    parameters: int | None = None
    bytes: int = 0
    created: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    @property
    def figure(self) -> float | None:
        """The metric on test, or else on val."""
        return self.val if self.test is None else self.test

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "settings": dict(self.settings)}
