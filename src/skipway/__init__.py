"""skipway: residual networks, whole.

    import skipway
    run = skipway.train("photos", epochs=5)      # a folder: bundle, metrics, report
    print(run.metrics["top1"], run.report)
    predictor = run.predictor()
    print(predictor.predict("new.jpg").label)

Each name is imported when first used, so that `import skipway` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipway.api import evaluate, load, resume, train
    from skipway.data import open_source
    from skipway.deploy.predictor import Prediction, Predictor
    from skipway.errors import SkipwayError
    from skipway.hardware import decide
    from skipway.models import build, list_models
    from skipway.run import Run
    from skipway.training.recipes import Recipe, find_recipe

WHERE = {
    "Prediction": "skipway.deploy.predictor",
    "Predictor": "skipway.deploy.predictor",
    "Recipe": "skipway.training.recipes",
    "Run": "skipway.run",
    "SkipwayError": "skipway.errors",
    "build": "skipway.models",
    "decide": "skipway.hardware",
    "evaluate": "skipway.api",
    "find_recipe": "skipway.training.recipes",
    "list_models": "skipway.models",
    "load": "skipway.api",
    "open_source": "skipway.data",
    "resume": "skipway.api",
    "train": "skipway.api",
}

__all__ = [
    "Prediction",
    "Predictor",
    "Recipe",
    "Run",
    "SkipwayError",
    "build",
    "decide",
    "evaluate",
    "find_recipe",
    "list_models",
    "load",
    "open_source",
    "resume",
    "train",
]
__version__ = version("skipway")


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module 'skipway' has no attribute '{name}'")
    return getattr(import_module(WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
