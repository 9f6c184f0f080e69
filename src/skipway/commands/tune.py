"""A search over fields of a recipe, by Optuna, for the best figure on val.

OUT/plan/      run.json, what is trained, and search.json, what is searched
OUT/study.db   the trials, in Optuna's storage
OUT/trials/    the run of the trial under way; it is removed when the trial has ended
OUT/best.json  the best recipe, for `train --recipe`; results.json and report.html have all trials

What a trial tries follows from the seed, its number and the trials before it, so that a search that was interrupted
goes on as if it had not been.
"""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from rich.console import Console

from skipway import bundle
from skipway.bundle import to_json, write_atomically
from skipway.commands.arguments import Folder
from skipway.commands.chosen_training import ChosenTraining, choose_training, read_plan, write_plan
from skipway.commands.loaded_run import read_records
from skipway.commands.search_space import Range, parse_search
from skipway.commands.train import free_folder
from skipway.commands.tune_report import TrialResult, write_page
from skipway.data.dataset import Dataset, with_validation
from skipway.data.loader import derive_seed
from skipway.data.quality.corrupt import Policy
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.errors import BundleError, DataError, SkipwayError, first_line, refuse_if
from skipway.hardware import Hardware
from skipway.json_text import finite_or_null
from skipway.tasks import task_for
from skipway.training.autoconfig import Start
from skipway.training.loop import train as fit
from skipway.training.recipe_fields import validate_recipe
from skipway.training.recipe_keywords import RecipeFields
from skipway.training.recipes import Recipe
from skipway.training.run_manifest import DEFAULT_OPTIONS, RunOptions, has_manifest
from skipway.training.signals import Interrupted

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

SEARCH, STORAGE, BEST = "search.json", "study.db", "best.json"
STARTUP = 5  # trials that are never pruned, as in Optuna


@dataclass(frozen=True)
class Search:
    """What is searched: ranges of fields, how many trials, and whether bad ones are ended early."""

    ranges: tuple[Range, ...]
    trials: int
    prune: bool

    def encode(self) -> dict[str, Any]:
        """As plain values, from which `decode` gives the same."""
        return {"search": [one.text() for one in self.ranges], "trials": self.trials, "prune": self.prune}

    @classmethod
    def decode(cls, values: Mapping[str, Any]) -> "Search":
        return cls(parse_search(values["search"]), values["trials"], values["prune"])


@dataclass(frozen=True)
class Tuning:
    """The result. metric: by which trials were compared, on val; best: the recipe of the best; trials: in order."""

    path: Path
    metric: str
    best: Recipe
    value: float
    trials: tuple[TrialResult, ...]


class Pruned(Exception):  # noqa: N818  # not an error
    """A trial that is worse than others were after as many epochs."""


def tune(
    data: Folder | Dataset | None = None,
    search: Sequence[str] | Mapping[str, str] = (),
    trials: int | None = None,
    recipe: str | Recipe | None = None,
    out: Folder | None = None,
    hardware: Hardware | None = None,
    console: Console | None = None,
    resume: Folder | None = None,
    prune: bool = True,
    bad: Policy = "error",
    options: RunOptions = DEFAULT_OPTIONS,
    changes: Mapping[str, Any] | None = None,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    start: Start = "pretrained",
    **fields: Unpack[RecipeFields],
) -> Tuning:
    """Search the values of a recipe's fields with the best main figure on val: `tune("photos", {"lr": "log:0.01:1"})`.

    search: see `search_space`. trials: how many trainings, 20 when None. prune: end a trial whose best figure is worse
    than the median of earlier ones after as many epochs. Test is not read. out: the folder of the results,
    runs/<data>-<model> when None. resume: the folder of a search, which goes on, with more `trials` where given. The
    other arguments are those of `train`. Raises SkipwayError, also where Optuna is missing.
    """
    require_optuna()
    refuse_if(trials is not None and trials < 1, f"--trials must be above 0, not {trials}", "give more")
    refuse_if(data is None and resume is None, "there are no data", "name them, or a folder to resume")
    if resume is not None:
        folder = Path(resume)
        chosen, searched = read_plan(folder, SEARCH, "search", Search.decode, hardware, console)
        searched = replace(searched, trials=trials or searched.trials)
    else:
        searched = Search(parse_search(search), trials or 20, prune)
        given = {**(changes or {}), **fields}
        both = next((one.field for one in searched.ranges if one.field in given), None)
        refuse_if(both, f"{both} is searched and given", "leave one of them out")
        chosen = choose_training(data or "", recipe, hardware, console, bad, given, reading, start, options)
        folder = Path(out) if out is not None else free_folder(chosen.dataset, chosen.recipe)
        require_val(chosen)
        write_plan(folder, chosen, SEARCH, searched.encode())
    try:
        run_trials(folder, chosen, searched)
    except Interrupted as stopped:
        again = shlex.join(["skipway", "tune", "--resume", str(folder)])
        raise Interrupted(stopped.args[0], stopped.args[1], again) from None
    return finish(folder, chosen, searched)


def require_optuna() -> None:
    """Raises SkipwayError where Optuna is not installed. It is kept from printing."""
    try:
        import optuna
    except ImportError:
        raise SkipwayError("a search needs Optuna: pip install 'skipway[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def require_val(chosen: ChosenTraining) -> None:
    """Raises SkipwayError without images of val, by which trials are compared."""
    there = with_validation(chosen.dataset, chosen.recipe.val, chosen.recipe.seed).val
    refuse_if(there is None, "trials are compared by val, and there is none", "give --val 0.1")


# ---------------------------------------------------------------------------------------------------------------------
# The trials


def open_study(folder: Path, chosen: ChosenTraining, prune: bool) -> "Study":
    """The trials so far. Raises SkipwayError where they cannot be read."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP) if prune else optuna.pruners.NopPruner()
    direction: Literal["maximize", "minimize"] = "maximize" if task_for(chosen.dataset).higher_is_better else "minimize"
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder.absolute() / STORAGE}")
        return optuna.create_study(
            storage=storage, study_name="search", pruner=pruner, direction=direction, load_if_exists=True
        )
    except (SQLAlchemyError, RuntimeError) as error:
        raise SkipwayError(f"{folder / STORAGE} cannot be used ({first_line(error)}): start a new search") from None


def close_study(study: "Study") -> None:
    """Close the connections to the file."""
    study._storage.remove_session()
    backend: Any = getattr(study._storage, "_backend", study._storage)
    backend.engine.dispose()


def run_trials(folder: Path, chosen: ChosenTraining, searched: Search) -> None:
    """All trials that are missing, first the one that was interrupted."""
    from optuna.trial import Trial, TrialState

    study = open_study(folder, chosen, searched.prune)
    try:
        unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for number in range(len(study.trials) - len(unfinished), searched.trials):
            trial = Trial(study, unfinished[0]._trial_id) if unfinished else study.ask()
            unfinished = []
            run_trial(folder, chosen, searched, study, trial)
            chosen.console.print(described(study, number, searched), soft_wrap=True, markup=False)
    finally:
        close_study(study)


def suggested(study: "Study", trial: "Trial", searched: Search, seed: int) -> dict[str, Any]:
    """The values to try. Each is drawn by a sampler of its own seed, so that none depends on what this process drew."""
    from optuna.samplers import TPESampler

    found = {}
    for place, one in enumerate(searched.ranges):
        own = derive_seed(seed, trial.number, place) % 2**32
        study.sampler = TPESampler(seed=own, multivariate=False, constant_liar=False)
        found[one.field] = one.suggest(trial)
    return found


def run_trial(folder: Path, chosen: ChosenTraining, searched: Search, study: "Study", trial: "Trial") -> None:
    """Train with the trial's values, or go on where that was interrupted, and store its figure."""
    from optuna.trial import TrialState

    out = folder / "trials" / f"trial-{trial.number:04d}"
    dataset, figure = replace(chosen.dataset, test=None), f"val_{task_for(chosen.dataset).metric}"

    def after_epoch(record: dict[str, Any]) -> None:
        if figure in record:
            if record["epoch"] not in study.trials[trial.number].intermediate_values:
                trial.report(record[figure], record["epoch"])
            if trial.should_prune():
                raise Pruned

    try:
        values = suggested(study, trial, searched, chosen.recipe.seed)
        recipe = validate_recipe(with_values(chosen.recipe, values))
        for record in read_records(out):  # of before an interruption, which may have come before they were reported
            after_epoch(record)
        again = has_manifest(out)
        fit(dataset, recipe, out, chosen.hardware, chosen.console, again, chosen.options, after_epoch=after_epoch)
        study.tell(trial, kept_value(out, figure))
    except Pruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (BundleError, DataError):  # of the disk or the images, and not of these values
        raise
    except SkipwayError as error:
        trial.set_user_attr("error", first_line(error))
        study.tell(trial, state=TrialState.FAIL)
    shutil.rmtree(out, ignore_errors=True)


def kept_value(out: Path, figure: str) -> float:
    """The figure on val of the weights that a run has kept."""
    return bundle.read_card(out).kept.get("value", read_records(out)[-1][figure])


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """`recipe` with the values of a trial; epochs replace iterations."""
    return replace(recipe, **{"iterations": 0, **values} if values.get("epochs") else values)


def described(study: "Study", number: int, searched: Search) -> str:
    """A trial that has ended, in a line."""
    one = result_of(study.trials[number])
    values = " ".join(f"{name}={shown(value)}" for name, value in one.values.items())
    end = f"{one.value:.4f}" if one.value is not None else one.error or "-"
    return f"trial {number + 1} of {searched.trials}: {values}: {end} ({one.state} after epoch {one.epochs})"


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def result_of(trial: Any) -> TrialResult:
    """An ended trial of Optuna as plain values; of a pruned one the last figure that it had."""
    figures = trial.intermediate_values
    value = trial.value if trial.value is not None else figures[max(figures)] if figures else None
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
    return TrialResult(
        trial.number + 1, state, value, max(figures, default=0), dict(trial.params), trial.user_attrs.get("error", "")
    )


# ---------------------------------------------------------------------------------------------------------------------
# The results


def finish(folder: Path, chosen: ChosenTraining, searched: Search) -> Tuning:
    """Write the best recipe and all trials. Raises SkipwayError where no trial was completed."""
    from optuna.trial import TrialState

    study = open_study(folder, chosen, searched.prune)
    try:
        results = tuple(map(result_of, study.trials))
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            why = next((one.error for one in results if one.error), "each was pruned")
            raise SkipwayError(f"no trial of {folder} was completed ({why}): search other values")
        best: Any = study.best_trial
        typed = {one.field: one.suggest(best_values(best)) for one in searched.ranges}
        importance = importances(study)
    finally:
        close_study(study)
    metric, recipe = task_for(chosen.dataset).metric, with_values(chosen.recipe, typed)
    write_atomically(folder / BEST, to_json(asdict(recipe)))
    values = {"metric": f"val_{metric}", "best": best.number + 1, "trials": [asdict(one) for one in results]}
    write_atomically(folder / "results.json", to_json(finite_or_null(values | {"importance": importance})))
    higher = task_for(chosen.dataset).higher_is_better
    command = train_command(chosen.dataset, folder / BEST)
    page = write_page(folder, chosen.dataset.name, metric, higher, results, importance, command)
    chosen.console.print(
        f"best: trial {best.number + 1}, {metric} {best.value:.4f} on val, by which it was chosen\n"
        f"train with: {command}\nreport {page}",
        soft_wrap=True,
        markup=False,
    )
    return Tuning(folder, metric, recipe, best.value, results)


def train_command(dataset: Dataset, recipe: Path) -> str:
    """What a shell runs to train with the best recipe: on the same images, read in the same way."""
    bad = ["--bad", "skip"] if dataset.left_out else []
    return shlex.join(["skipway", "train", dataset.name, *dataset.reading.options(), *bad, "--recipe", str(recipe)])


def best_values(trial: Any) -> Any:
    """What suggests the values that a trial had."""
    from optuna.trial import FixedTrial

    return FixedTrial(trial.params)


def importances(study: "Study") -> dict[str, float]:
    """How much each field explains of the figures, 1 in all, by PED-ANOVA; {} where there are too few trials."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len(study.trials) < STARTUP:
        return {}
    try:
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):  # all figures are equal, or only one trial was completed
        return {}
    return {name: round(float(value), 4) for name, value in found.items()}
