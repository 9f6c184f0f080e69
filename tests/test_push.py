"""Runs on the hub: published with a model card, and used from there, with a hub on this machine."""

import hashlib
import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from generated import write_generator
from hub import TOKEN, Hub, Repository, running_hub
from huggingface_hub import constants
from huggingface_hub.repocard_data import model_index_to_eval_results
from PIL import Image
from typed import Skipway, command_line, refused

import skipway
from skipway import bundle
from skipway.bundle import hub as hub_runs
from skipway.commands.embed import open_model
from skipway.commands.model_card import literal
from skipway.deploy.benchmark import load_subject
from skipway.hardware import decide

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's client about itself
CPU = decide("cpu", workers=0)
LICENCES = ("--licence", "apache-2.0", "--data-licence", "unknown")
BUNDLE = {"weights.safetensors", "card.json", "README.md", "SHA256SUMS", "metrics.jsonl"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a second, on the folder of a user."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    rng, photos = np.random.default_rng(0), out.parent / "secret-client" / "photos"
    for kind, base in (("cats", 180), ("dogs|<b>", 60)):
        (photos / kind).mkdir(parents=True)
        for i in range(6):
            pixels = np.clip(rng.normal(base, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(photos / kind / f"{i}.png")
    skipway.train(str(photos), "quick", out, CPU, epochs=1, batch=4, size=16, model="resnet20", val=0.3)
    return out


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(monkeypatch, tmp_path / "hub") as running:
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Skipway:
    return command_line(monkeypatch, capsys, tmp_path)


@pytest.fixture
def published(hub: Hub, finished: Path) -> str:
    """The run on the hub, put there without `push`."""
    names = sorted(BUNDLE)
    hub.repositories["ada/photos"] = Repository()
    hub.repositories["ada/photos"].commit("main", {name: (finished / name).read_bytes() for name in names})
    hub.repositories["ada/photos"].tags["v1"] = hub.repositories["ada/photos"].branches["main"]
    return "hf:ada/photos"


def metadata(readme: bytes) -> dict:
    _, head, _ = readme.decode().split("---\n", 2)
    return yaml.safe_load(head)


# ---------------------------------------------------------------------------------------------------------------------
# push


def test_a_pushed_run_is_a_bundle_with_a_model_card(hub: Hub, finished: Path, typed: Skipway) -> None:
    code, out, err = typed("push", str(finished), "ada/photos", *LICENCES, "--tag", "v1")
    assert (code, err) == (0, "")
    assert out.startswith("hf:ada/photos@v1: weights.safetensors, card.json, README.md, SHA256SUMS, metrics.jsonl; ")
    files = hub.files("ada/photos", "v1")
    assert files.keys() == BUNDLE | {".gitattributes"}
    assert hub.repositories["ada/photos"].private
    assert files["weights.safetensors"] == (finished / "weights.safetensors").read_bytes()
    for line in files["SHA256SUMS"].decode().splitlines():  # as `sha256sum -c` does
        digest, name = line.split("  ")
        assert hashlib.sha256(files[name]).hexdigest() == digest
    found = metadata(files["README.md"])
    assert (found["library_name"], found["license"]) == ("skipway", "apache-2.0")
    assert found["pipeline_tag"] == "image-classification"
    _, results = model_index_to_eval_results(found["model-index"])
    card = bundle.read_card(finished)
    accuracy = [r.metric_value for r in results if r.metric_type == "accuracy" and r.dataset_split == "val"]
    assert accuracy == [card.metrics["val"]["top1"]]
    text = files["README.md"].decode()
    assert "skipway predict hf:ada/photos@v1" in text
    assert "data that they were trained on: unknown" in text
    assert card.data["fingerprint"] in text


def test_nothing_of_this_machine_is_published(hub: Hub, finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    bundle.add_left_out(run, [("private-name.jpg", "it is empty")])
    card = bundle.read_card(run)
    teacher = {"run": str(tmp_path / "teacher"), "network": "resnet20", "weights_sha256": "0" * 64, "parameters": 1}
    recipe = {**card.recipe, "teacher": str(tmp_path / "teacher"), "members": ["secret-client/a", "b"]}
    bundle.seal(run, replace(card, teacher=teacher, recipe=recipe))
    assert all(b"secret-client" in (run / name).read_bytes() for name in ("report.html", "report.json"))
    skipway.push(run, "ada/photos", "apache-2.0", "unknown", with_report=True)
    published = json.loads(hub.files("ada/photos")["card.json"])
    assert (published["teacher"]["run"], published["recipe"]["members"]) == ("teacher", ["a", "b"])
    everything = b"".join(hub.files("ada/photos").values())
    for secret in (b"secret-client", str(tmp_path).encode(), b"private-name"):
        assert secret not in everything
    assert b"| left out | 1 images |" in everything
    assert json.loads(hub.files("ada/photos")["card.json"])["data"]["name"] == "photos"


def test_images_are_published_only_in_a_report_that_is_asked_for(hub: Hub, finished: Path, typed: Skipway) -> None:
    assert typed("push", str(finished), "ada/photos", *LICENCES, "--with-report", "--public")[0] == 0
    assert {"report.html", "report.json"} < hub.files("ada/photos").keys()
    assert not hub.repositories["ada/photos"].private
    assert typed("push", str(finished), "ada/photos", *LICENCES, "--update")[0] == 0
    assert "report.html" not in hub.files("ada/photos"), "it would be the report of another version"


def test_a_run_that_is_there_is_replaced_only_when_asked_and_stays_in_the_history(
    hub: Hub, finished: Path, typed: Skipway
) -> None:
    first = skipway.push(finished, "ada/photos", "apache-2.0", "unknown")
    before = hub.files("ada/photos")
    refused(typed("push", str(finished), "ada/photos", *LICENCES), "ada/photos holds a run already: give --update")
    assert hub.files("ada/photos") == before
    assert (
        typed("push", str(finished), "ada/photos", "--licence", "mit", "--data-licence", "unknown", "--update")[0] == 0
    )
    assert metadata(hub.files("ada/photos")["README.md"])["license"] == "mit"
    assert hub.files("ada/photos", first.place.split("@")[1]) == before
    answer = typed("push", str(finished), "ada/photos", *LICENCES, "--update", "--tag", "v2", "--revision", "next")
    assert answer[0] == 0
    assert hub.repositories["ada/photos"].tags["v2"] == hub.repositories["ada/photos"].branches["next"]
    refused(typed("push", str(finished), "ada/photos", *LICENCES, "--update", "--tag", "v2"), "has a tag v2")


def test_a_push_during_another_one_is_refused(hub: Hub, finished: Path, typed: Skipway) -> None:
    hub.before_commit = lambda repository: repository.commit("main", {"README.md": b"of somebody else"})
    refused(
        typed("push", str(finished), "ada/photos", *LICENCES), "somebody else changed it at the same time: try again"
    )
    assert hub.files("ada/photos") == {"README.md": b"of somebody else"}


def test_what_is_not_a_finished_run_is_refused_before_anything_is_sent(
    hub: Hub, finished: Path, typed: Skipway, tmp_path: Path
) -> None:
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    generator = write_generator(tmp_path / "generator")
    for run, said in (
        (tmp_path / "nothing", "does not exist"),
        (tmp_path / "begun", "an unfinished run: continue it with --resume"),
        (generator, "is no finished run: it was not evaluated"),
        ("hf:ada/other", "is on the hub already"),
    ):
        refused(typed("push", str(run), "ada/photos", *LICENCES), said)
    changed = shutil.copytree(finished, tmp_path / "changed")
    (changed / "card.json").write_text("{}")
    refused(typed("push", str(changed), "ada/photos", *LICENCES), "was changed since it was written")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("photos", *LICENCES), "hf:photos is not a valid hub name of a run"),
        (("../../etc/passwd", *LICENCES), "is not a valid hub name of a run"),
        (("ada/photos@v1", *LICENCES), "names a revision: give it as --revision or --tag"),
        (("ada/photos", "--licence", "Apache License", "--data-licence", "unknown"), "--licence must be the hub's"),
        (("ada/photos", "--licence", "mit"), "Missing option '--data-licence'"),
    ],
)
def test_wrong_arguments_of_a_push_are_one_line(
    hub: Hub, finished: Path, typed: Skipway, given: tuple[str, ...], said: str
) -> None:
    refused(typed("push", str(finished), *given), said)
    assert hub.requests == []


def test_a_push_that_the_hub_refuses_says_what_to_do(
    hub: Hub, finished: Path, typed: Skipway, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["ada/else"] = Repository()
    hub.repositories["ada/else"].commit("main", {"model.bin": b"of somebody"})
    refused(typed("push", str(finished), "ada/else", *LICENCES, "--update"), "holds something else than a run")
    monkeypatch.delenv("HF_TOKEN")
    refused(typed("push", str(finished), "ada/photos", *LICENCES), "(HTTP 401): log in with `hf auth login`")
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    refused(typed("push", str(finished), "ada/photos", *LICENCES), "while SKIPWAY_OFFLINE is set")


def test_names_cannot_format_a_model_card() -> None:
    assert literal("a|b\n# <img src=x> [x](y)") == r"a\|b\\n# \<img src=x\> \[x\](y)"


# ---------------------------------------------------------------------------------------------------------------------
# hf:owner/name wherever a run can be given


@pytest.mark.parametrize("revision", ["", "@v1", "@main"])
def test_a_run_of_the_hub_predicts_what_its_folder_does(
    published: str, finished: Path, typed: Skipway, tmp_path: Path, revision: str
) -> None:
    photo = next(finished.parent.rglob("*.png"))
    code, out, _ = typed("predict", published + revision, str(photo), "--json", "--device", "cpu")
    assert code == 0
    assert out == typed("predict", str(finished), str(photo), "--json", "--device", "cpu")[1]


def test_everything_that_takes_a_run_takes_one_of_the_hub(
    published: str, hub: Hub, finished: Path, typed: Skipway, tmp_path: Path
) -> None:
    photos = finished.parent / "secret-client" / "photos"
    photo = str(next(photos.rglob("*.png")))
    assert typed("eval", published, str(photos), "--device", "cpu")[0] == 0
    assert len(list(tmp_path.glob("runs/ada-photos/reports/photos-*/report.html"))) == 1
    assert typed("explain", published, photo, "--method", "grad-cam", "--device", "cpu")[0] == 0
    assert typed("embed", published, photo, "--out", "f.parquet", "--device", "cpu")[0] == 0
    assert typed("select", published, str(photos), "--count", "2", "--out", "chosen.csv")[0] in (0, 2)
    assert typed("export", published, "--format", "torch", "--images", photo)[0] == 0
    assert (tmp_path / "runs" / "ada-photos" / "exports" / "torch").is_dir()
    assert open_model(published, CPU).card == skipway.load(published).card == bundle.read_card(finished)
    assert load_subject(published, CPU)[1] == "resnet20"
    run = skipway.load(published)
    assert len(run.history) == 1
    assert run.evaluate(photos, hardware=CPU).metrics["n"] == run.metrics["n"]
    in_cache = {file.name for file in run.path.iterdir()}
    assert in_cache == BUNDLE, "reports and exports have no place in the hub's cache"


def test_a_generator_of_the_hub_generates(hub: Hub, tmp_path: Path, typed: Skipway) -> None:
    made = write_generator(tmp_path / "made")
    hub.repositories["ada/apes"] = Repository()
    hub.repositories["ada/apes"].commit("main", {file.name: file.read_bytes() for file in made.iterdir()})
    assert typed("generate", "hf:ada/apes", "--n", "2", "--steps", "1", "--out", "a.png", "--device", "cpu")[0] == 0
    assert typed("generate", str(made), "--n", "2", "--steps", "1", "--out", "b.png", "--device", "cpu")[0] == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_run_is_downloaded_once_and_used_offline(published: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    card = skipway.load(published).card
    fetched = [request for request in hub.requests if "/resolve/" in request and request.startswith("GET")]
    assert {request.rsplit("/", 1)[1] for request in fetched} == BUNDLE
    skipway.load(published)
    assert [r for r in hub.requests if "/resolve/" in r and r.startswith("GET")] == fetched
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    hub.requests.clear()
    assert skipway.load(published).card == card
    assert hub.requests == []


def test_a_file_that_was_changed_is_refused_and_downloaded_again(published: str, hub: Hub) -> None:
    weights = skipway.load(published).path / "weights.safetensors"
    weights.resolve().write_bytes(b"x" + weights.read_bytes()[1:])
    with pytest.raises(skipway.SkipwayError, match=r"weights\.safetensors does not have the checksum"):
        skipway.load(published)
    assert skipway.load(published).model is not None
    hub.files("ada/photos")["README.md"] += b"changed on the hub's page"
    hub.repositories["ada/photos"].commit("main", hub.files("ada/photos"))
    with pytest.raises(skipway.SkipwayError, match=r"README.md does not have the checksum.*tell the owner"):
        skipway.load(published)
    assert skipway.load(f"{published}@v1")


def without_notice(answer: tuple[int, str, str]) -> tuple[int, str, str]:
    """An answer without the line that says what is about to be downloaded."""
    code, out, err = answer
    return code, out, "".join(line for line in err.splitlines(True) if not line.startswith("downloading "))


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_runs_that_cannot_be_had_are_one_line(
    published: str, hub: Hub, typed: Skipway, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["ada/hidden"] = Repository(private=True)
    hub.repositories["ada/hidden"].commit("main", hub.files("ada/photos"))
    hub.repositories["ada/gated"] = Repository(gated=True)
    hub.repositories["ada/gated"].commit("main", hub.files("ada/photos"))
    hub.repositories["ada/timm"] = Repository()
    hub.repositories["ada/timm"].commit("main", {"model.safetensors": b"", "config.json": b"{}"})
    monkeypatch.delenv("HF_TOKEN")
    for name, said in (
        ("hf:photos", "is not a valid hub name of a run"),
        ("hf:ada/photos/weights.safetensors", "is not a valid hub name of a run"),
        ("hf:ada/../photos", "is not a valid hub name of a run"),
        ("hf:ada/none", "does not exist on the hub, or you have no access"),
        ("hf:ada/hidden", "log in with `hf auth login` if it is private"),
        ("hf:ada/photos@v9", "hf:ada/photos@v9 does not exist on the hub"),
        ("hf:ada/gated", "requires you to accept its terms"),
        ("hf:ada/timm", "is no run that skipway published (SHA256SUMS is missing)"),
    ):
        refused(without_notice(typed("predict", name, "x.png")), said)
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    refused(typed("predict", published, "x.png"), "cannot be downloaded (SKIPWAY_OFFLINE is set): go online")
    monkeypatch.delenv("SKIPWAY_OFFLINE")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    said = "is not in the hub's cache and cannot be downloaded ("
    refused(without_notice(typed("predict", published, "x.png")), said)


def test_outputs_of_a_local_run_stay_in_its_folder(tmp_path: Path) -> None:
    assert hub_runs.output_folder(tmp_path) == tmp_path
    assert hub_runs.local_folder(tmp_path) == tmp_path
