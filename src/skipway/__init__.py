"""skipway: residual networks, whole.

    import skipway
    run = skipway.train("digits")                       # a folder: bundle, metrics, report
    for answer in skipway.Predictor(run).predict(["new.png"]):
        print(answer.name, answer.classes[0])

Each name is imported when first used, so that `import skipway` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipway.api import evaluate, load, train
    from skipway.data import open_source
    from skipway.deploy.predictor import Predictor
    from skipway.errors import SkipwayError
    from skipway.hardware import decide
    from skipway.models import build, list_models
    from skipway.training.recipes import Recipe, find_recipe

WHERE = {
    "Predictor": "skipway.deploy.predictor",
    "Recipe": "skipway.training.recipes",
    "SkipwayError": "skipway.errors",
    "build": "skipway.models",
    "decide": "skipway.hardware",
    "evaluate": "skipway.api",
    "find_recipe": "skipway.training.recipes",
    "list_models": "skipway.models",
    "load": "skipway.api",
    "open_source": "skipway.data",
    "train": "skipway.api",
}

__all__ = [
    "Predictor",
    "Recipe",
    "SkipwayError",
    "build",
    "decide",
    "evaluate",
    "find_recipe",
    "list_models",
    "load",
    "open_source",
    "train",
]
__version__ = version("skipway")


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module 'skipway' has no attribute '{name}'")
    return getattr(import_module(WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
