"""A finished run on the Hugging Face hub: `skipway push`."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import escape

from skipway import bundle
from skipway.bundle import SUMS
from skipway.bundle.hub import RECORDS, Place, is_on_hub, parse, without_bars
from skipway.commands.arguments import Folder
from skipway.commands.model_card import Licences, last_name, model_card, places_of, public_card
from skipway.download import offline
from skipway.errors import SkipwayError, first_line, refuse_if
from skipway.trained import task_of
from skipway.training.finished import finished_run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

REPORT = ("report.html", "report.json")
HUBS_OWN = {".gitattributes"}  # what the hub itself puts into a new repository


@dataclass(frozen=True)
class PushResult:
    """A published run. place: the version, as every command takes it; url: of its page; files: the names of what was
    published; megabytes: their size, of 2^20 bytes."""

    place: str
    url: str
    files: tuple[str, ...]
    megabytes: float


@dataclass(frozen=True)
class Target:
    """Where a run goes. revision: a branch, made where it is missing, None for main; tag: of the new version; update:
    whether it may become a new version of a run that is there."""

    repository: str
    public: bool
    revision: str | None
    tag: str | None
    update: bool

    @property
    def shown(self) -> Place:
        """As the model card names it: by its tag or branch, where it has one."""
        return Place(self.repository, self.tag or self.revision)


def push(
    run: Folder,
    repository: str,
    licence: str,
    data_licence: str,
    public: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    with_report: bool = False,
    update: bool = False,
) -> PushResult:
    """Publish the finished run `run` as the repository owner/name on the hub, with a model card:
    `skipway.push("runs/photos", "ada/photos", licence="apache-2.0", data_licence="unknown")`.

    licence, data_licence: of the weights, and of the data that they were trained on, as the hub's identifiers, or
    "unknown". public: whether anybody can see the repository, if it is new. revision: a branch instead of main. tag: a
    name for the new version. with_report: the report too, in which there are images of the data. update: whether it may
    become a new version of a run that is there; its earlier versions remain.

    Nothing but the bundle, the figures of its epochs and, if asked for, the report is published, and no folder of this
    machine is named. Whoever publishes has logged in with `hf auth login`. Raises SkipwayError; before anything is sent
    for a run that is not finished.
    """
    licences = Licences(licence, data_licence)
    refuse_if(is_on_hub(run), f"{os.fspath(run)} is on the hub already", "give the folder of a run")
    place = parse(f"hf:{repository.removeprefix('hf:')}")
    refuse_if(place.revision, f"{repository} names a revision", "give it as --revision or --tag")
    target = Target(place.repository, public, revision, tag, update)
    folder = Path(run)
    require_finished(folder, with_report)
    if variable := offline():
        raise SkipwayError(f"nothing can be pushed while {variable} is set: unset it")
    with tempfile.TemporaryDirectory() as staging:
        files = stage(folder, Path(staging), target.shown, licences, with_report)
        megabytes = sum(file.stat().st_size for file in files.values()) / 2**20
        with in_one_line(target):
            version, url = publish(target, files)
    return PushResult(f"hf:{target.repository}@{version}", url, tuple(files), megabytes)


def require_finished(folder: Path, with_report: bool) -> None:
    """Raises SkipwayError unless `folder` holds a whole run that was evaluated, and its report where it is wanted."""
    bundle.read_card(folder)
    refuse_if(
        finished_run(folder) is None,
        f"{folder} is no finished run: it was not evaluated at the end of a training here, or lacks its report",
        "continue it with `skipway train --resume`, or train again",
    )
    missing = next((name for name in REPORT if with_report and not (folder / name).is_file()), None)
    refuse_if(missing, f"{folder} has no {missing}", "leave out --with-report")


# ---------------------------------------------------------------------------------------------------------------------
# What is published


def stage(folder: Path, staging: Path, place: Place, licences: Licences, with_report: bool) -> dict[str, Path]:
    """The files to publish by name: those of the run, or new ones in `staging` for the card, its model card, the
    checksums of both, and the report."""
    own = bundle.read_card(folder)
    card = public_card(own)
    text = model_card(card, task_of(own, folder), place, licences, len(own.data.get("left_out", [])))
    weights, written, readme = bundle.FILES
    (staging / written).write_bytes(bundle.to_json(dataclasses.asdict(card)))
    (staging / readme).write_bytes(text.encode())
    files = {weights: folder / weights, written: staging / written, readme: staging / readme}
    sums = bundle.checksums({name: bundle.sha256(file) for name, file in files.items()})
    (staging / SUMS).write_bytes(sums)
    files |= {SUMS: staging / SUMS, RECORDS: folder / RECORDS}
    places = sorted([*places_of(own), str(folder)], key=len, reverse=True)  # one may begin with another
    for name in REPORT if with_report else ():
        (staging / name).write_text(without_places((folder / name).read_text(), places))
        files[name] = staging / name
    return files


def without_places(report: str, places: Sequence[str]) -> str:
    """The text of a report, HTML or JSON, with the last name alone of each of `places`."""
    for place in places:
        for written in (escape, json_escaped):
            report = report.replace(str(written(place)), str(written(last_name(place))))
    return report


def json_escaped(text: str) -> str:
    """`text` as it is inside a string of JSON."""
    return json.dumps(text)[1:-1]


# ---------------------------------------------------------------------------------------------------------------------
# The hub


def publish(target: Target, files: dict[str, Path]) -> tuple[str, str]:
    """Make `files` the newest version of the target, in one commit; returns the version and the address of its page.

    Raises SkipwayError for a repository that holds something else, or a run that is not to be updated, and what the
    hub's client raises.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    without_bars()
    api = HfApi()
    parent, there = prepare(api, target)
    stale = [name for name in REPORT if name in there and name not in files]
    done = api.create_commit(
        target.repository,
        [
            *(CommitOperationAdd(name, str(file)) for name, file in files.items()),
            *(CommitOperationDelete(name) for name in stale),
        ],
        commit_message="A trained network, published by skipway",
        revision=target.revision,
        parent_commit=parent,
    )
    if target.tag:
        api.create_tag(target.repository, tag=target.tag, revision=done.oid)
    return target.tag or done.oid, str(done.commit_url).split("/commit/")[0]


def prepare(api: "HfApi", target: Target) -> tuple[str | None, set[str]]:
    """The commit that the new version follows, and the files that it has; the repository and the branch are made where
    they are missing. Raises SkipwayError for what must not be changed."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    repository = target.repository
    try:
        refs = api.list_repo_refs(repository)
    except RepositoryNotFoundError:
        api.create_repo(repository, private=not target.public)
        refs = api.list_repo_refs(repository)
    refuse_if(
        target.tag in [ref.name for ref in refs.tags], f"{repository} has a tag {target.tag}", "give another --tag"
    )
    if target.revision and target.revision not in [ref.name for ref in refs.branches]:
        api.create_branch(repository, branch=target.revision)
    try:
        info = api.model_info(repository, revision=target.revision)
    except RevisionNotFoundError:  # a repository without a commit
        return None, set()
    there = {file.rfilename for file in info.siblings or ()} - HUBS_OWN
    refuse_if(there and SUMS not in there, f"{repository} holds something else than a run", "choose another name")
    refuse_if(
        there and not target.update,
        f"{repository} holds a run already",
        "give --update for a new version of it, or choose another name",
    )
    return info.sha, there


@contextmanager
def in_one_line(target: Target) -> Iterator[None]:
    """Turns what the hub's client raises into a SkipwayError that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    where = f"{target.repository} cannot be pushed to the hub"
    try:
        yield
    except SkipwayError:
        raise
    except LocalTokenNotFoundError:
        raise SkipwayError(f"{where} without a login: log in with `hf auth login`") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        advice = {
            401: "log in with `hf auth login`, with a token that may write",
            403: "your login may not write there: choose an owner that it may write for",
            409: "somebody else changed it at the same time: try again",
            412: "somebody else changed it at the same time: try again",
        }
        known = advice.get(status, f"{first_line(error)}: try again")
        raise SkipwayError(f"{where} (HTTP {status}): {known}") from None
    except Exception as error:  # the hub's client passes on exceptions of its HTTP library
        raise SkipwayError(
            f"{where} ({first_line(error.__cause__ or error)}): check the connection and try again"
        ) from None
