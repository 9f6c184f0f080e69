"""The door between making and using: what goes in comes out, and nothing else does."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from skipway import bundle
from skipway.bundle import Card, add_calibration, add_metrics, load_network, new_folder, read_card, read_weights, write
from skipway.errors import BundleError
from skipway.models import build
from skipway.tasks import task_named

EVERYTHING = ("weights.safetensors", "card.json", "README.md", "SHA256SUMS")
MEASURED = {"top1": 0.9, "top1_interval": [0.85, 0.94], "top5": 1.0, "loss": 0.3, "n": 200}


def in_words(metrics: dict[str, Any], task: str = "classify") -> str:
    """The figure that counts, as the task says it."""
    return task_named(task, ("zero", "one", "zwölf")).summary(metrics)


def card(**changes: object) -> Card:
    plain = Card(
        task="classify",
        network={"name": "resnet20", "classes": 3, "channels": 1},
        classes=["zero", "one", "zwölf"],
        preprocessing={"channels": 1, "size": 8, "resize": 8, "mean": [0.5], "std": [0.25]},
        recipe={"name": "quick", "epochs": 2, "val": 0.1, "seed": 0},
        data={"name": "digits", "fingerprint": "ab" * 32},
        hardware={"device": "a processor"},
        versions={"torch": "2.11"},
        commit="unknown",
        created="2026-01-02",
        parameters=269_000,
        seconds=12.5,
        metrics={"val": MEASURED},
        summaries={"val": in_words(MEASURED)},
        calibration={"temperature": 1.25, "split": "val", "n": 20},
    )
    return dataclasses.replace(plain, **changes)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A bundle whose weights are a few bytes, so that it can be read a thousand times."""
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder, {"a": torch.arange(5.0), "b": torch.tensor([[1, 2]])}, card())
    return folder


@pytest.fixture
def real(tmp_path: Path) -> tuple[Path, nn.Module]:
    folder, net = tmp_path / "real", build("resnet20", classes=3, channels=1)
    folder.mkdir()
    with torch.no_grad():
        net.train()(torch.randn(4, 1, 8, 8))  # statistics that are not the defaults
    write(folder, net.state_dict(), card())
    return folder, net


def reseal(folder: Path) -> None:
    """Checksums that agree with the files, as one would write who changes a bundle on purpose."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in EVERYTHING[:3]]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_network_comes_back_bit_by_bit_and_gives_the_same_scores(real: tuple[Path, nn.Module]) -> None:
    folder, net = real
    found = read_card(folder)
    again = load_network(folder, found, lambda network: build(**network))
    for key, value in net.state_dict().items():
        other = again.state_dict()[key]
        assert value.dtype == other.dtype
        assert torch.equal(value, other), key
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), again(x))
    assert not again.training
    assert dataclasses.replace(found, weights_sha256="") == card()


def test_the_card_keeps_every_value(tiny: Path) -> None:
    found = read_card(tiny)
    assert found.classes == ["zero", "one", "zwölf"]
    assert found.weights_sha256 == hashlib.sha256((tiny / "weights.safetensors").read_bytes()).hexdigest()
    assert dataclasses.asdict(found) == json.loads((tiny / "card.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8])
def test_weights_of_every_kind_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    strided = torch.arange(24).reshape(1, 2, 3, 4).to(dtype).to(memory_format=torch.channels_last)
    write(tmp_path, {"w": strided, "scalar": torch.tensor(7).to(dtype)}, card())
    found = read_weights(tmp_path)
    assert torch.equal(found["w"], strided)
    assert torch.equal(found["scalar"], torch.tensor(7).to(dtype))
    assert found["w"].dtype == dtype


def test_the_folder_holds_its_four_files_and_nothing_left_over(tiny: Path) -> None:
    assert sorted(p.name for p in tiny.iterdir()) == sorted(EVERYTHING)
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in tiny.iterdir()), "others may read what is shared with them"


def test_weights_are_plain_safetensors(tiny: Path) -> None:
    with safe_open(tiny / "weights.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["a", "b"]


def test_the_readme_says_what_it_is_in_words(tiny: Path) -> None:
    text = (tiny / "README.md").read_text(encoding="utf-8")
    for words in ("resnet20", "digits", "269,000 parameters", "3 classes", "90.00 %", "85.00 to 94.00", "200 images"):
        assert words in text


def changes(content: bytes) -> list[bytes]:
    """`content` with one byte changed: at the ends, and at some 60 places between, in two ways."""
    places = sorted({0, 1, len(content) - 2, len(content) - 1, *range(0, len(content), max(1, len(content) // 60))})
    return [content[:i] + bytes([content[i] ^ mask]) + content[i + 1 :] for i in places for mask in (0x01, 0x80)]


@pytest.mark.parametrize("file", EVERYTHING)
def test_one_changed_byte_anywhere_is_refused(tiny: Path, file: str) -> None:
    good = (tiny / file).read_bytes()
    for bad in changes(good):
        (tiny / file).write_bytes(bad)
        with pytest.raises(BundleError) as caught:
            read_card(tiny)
        assert str(tiny) in str(caught.value)
    (tiny / file).write_bytes(good)
    read_card(tiny)


def test_a_line_more_among_the_checksums_is_a_change(tiny: Path) -> None:
    sums = tiny / "SHA256SUMS"
    sums.write_text(f"{sums.read_text()}{'0' * 64}  more.txt\n")
    with pytest.raises(BundleError, match="SHA256SUMS was changed since it was written"):
        read_card(tiny)


def test_every_byte_of_the_checksums_counts(tiny: Path) -> None:
    good = (tiny / "SHA256SUMS").read_bytes()
    passed = []
    for i in range(len(good)):
        for value in {good[i] ^ 0x01, good[i] ^ 0x20, ord("\r")}:
            (tiny / "SHA256SUMS").write_bytes(good[:i] + bytes([value]) + good[i + 1 :])
            try:
                read_card(tiny)
            except BundleError:
                continue
            passed.append((i, good[i : i + 1], bytes([value])))
    assert not passed


@pytest.mark.parametrize("file", EVERYTHING)
def test_a_file_cut_short_or_lengthened_is_refused(tiny: Path, file: str) -> None:
    good = (tiny / file).read_bytes()
    for bad in (good[:-1], good[: len(good) // 2], b"", good + b"\n", good + good):
        (tiny / file).write_bytes(bad)
        with pytest.raises(BundleError):
            read_card(tiny)


@pytest.mark.parametrize("file", EVERYTHING[:3])
def test_a_missing_file_is_named(tiny: Path, file: str) -> None:
    (tiny / file).unlink()
    with pytest.raises(BundleError, match=f"lacks {file}: restore it"):
        read_card(tiny)


def test_what_is_no_bundle_is_told_from_an_unfinished_run(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere does not exist: .*skipway train"):
        read_card(tmp_path / "nowhere")
    (tiny / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match=r"run holds no bundle \(SHA256SUMS is missing\)"):
        read_card(tiny)
    (tiny / "checkpoints").mkdir()
    with pytest.raises(BundleError, match=r"unfinished run: continue it with --resume"):
        read_card(tiny)


def test_a_file_instead_of_a_folder_is_refused(tiny: Path) -> None:
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        read_card(tiny / "weights.safetensors")


def test_a_schema_of_the_future_asks_for_an_upgrade(tiny: Path) -> None:
    values = json.loads((tiny / "card.json").read_text()) | {"schema": 2, "a field of tomorrow": 1}
    (tiny / "card.json").write_text(json.dumps(values))
    reseal(tiny)
    with pytest.raises(BundleError, match=r"has schema 2, this version reads 1: upgrade skipway"):
        read_card(tiny)


@pytest.mark.parametrize("text", ["{}", "[]", "null", "{", '{"schema": 1}', '{"schema": 1, "strange": 2}', "\x00"])
def test_a_card_that_is_none_is_refused_even_with_right_checksums(tiny: Path, text: str) -> None:
    (tiny / "card.json").write_text(text)
    reseal(tiny)
    with pytest.raises(BundleError, match=r"card\.json is not a card"):
        read_card(tiny)


def test_weights_exchanged_after_the_card_was_written_are_refused_even_with_right_checksums(tiny: Path) -> None:
    # The card names its weights' checksum, so a bundle pieced together from two others shows.
    shutil.copy(tiny / "weights.safetensors", tiny / "old")
    other = tiny.parent / "other"
    other.mkdir()
    write(other, {"a": torch.zeros(5), "b": torch.tensor([[1, 2]])}, card())
    shutil.copy(other / "weights.safetensors", tiny / "weights.safetensors")
    reseal(tiny)
    with pytest.raises(BundleError, match="weights"):
        read_card(tiny)


@pytest.mark.parametrize(("name", "classes"), [("resnet32", ("a", "b", "c")), ("resnet20", ("a", "b", "c", "d"))])
def test_weights_of_another_network_are_refused_in_one_line(
    real: tuple[Path, nn.Module], name: str, classes: tuple[str, ...]
) -> None:
    folder, net = real
    network = {"name": name, "classes": len(classes), "channels": 1}
    write(folder, net.state_dict(), card(network=network, classes=list(classes)))
    with pytest.raises(BundleError, match="the weights do not fit the card") as caught:
        load_network(folder, read_card(folder), lambda network: build(**network))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(real: tuple[Path, nn.Module], value: float) -> None:
    folder, net = real
    weights = net.state_dict()
    weights["layer2.0.bn1.running_var"][3] = value
    write(folder, weights, card())
    with pytest.raises(BundleError, match=r"NaN or infinite \(in layer2\.0\.bn1\.running_var\)"):
        load_network(folder, read_card(folder), lambda network: build(**network))


def test_finite_numbers_whose_sum_overflows_are_finite() -> None:
    assert bundle.is_finite(torch.full((9,), 3e38))
    assert bundle.is_finite(torch.full((9,), 6e4, dtype=torch.float16))
    assert bundle.is_finite(torch.tensor([1, 2]))
    assert not bundle.is_finite(torch.tensor([float("inf"), -float("inf")]))


def test_metrics_that_are_no_numbers_are_written_as_null(tiny: Path) -> None:
    """JSON has no NaN, and other programs could not read the card."""
    add_metrics(tiny, "test", MEASURED | {"ece": float("nan"), "each": [0.5, float("inf")]}, "top-1 90 %")
    json.loads((tiny / "card.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert read_card(tiny).metrics["test"] == MEASURED | {"ece": None, "each": [0.5, None]}


def test_nothing_is_built_from_a_bundle_that_was_changed(real: tuple[Path, nn.Module]) -> None:
    folder, _ = real
    (folder / "README.md").write_text("# Something else")

    def never(**_: object) -> nn.Module:
        raise AssertionError("built before it was verified")

    with pytest.raises(BundleError, match=r"README\.md was changed"):
        load_network(folder, read_card(folder), never)


def test_sha256sum_agrees(tiny: Path) -> None:
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("there is no sha256sum here")
    command = [tool, "--strict", "-c", "SHA256SUMS"]
    assert subprocess.run(command, cwd=tiny, capture_output=True, check=False).returncode == 0
    (tiny / "README.md").write_text("changed")
    assert subprocess.run(command, cwd=tiny, capture_output=True, check=False).returncode != 0


def test_metrics_are_added_to_card_and_readme_and_the_bundle_stays_valid(tiny: Path) -> None:
    weights = (tiny / "weights.safetensors").read_bytes()
    measured = MEASURED | {"top1": 0.876}
    add_metrics(tiny, "test", measured, in_words(measured))
    found = read_card(tiny)
    assert found.metrics == {"val": MEASURED, "test": measured}
    assert found.summaries == {"val": in_words(MEASURED), "test": in_words(measured)}
    without = {"metrics": {}, "summaries": {}}
    assert dataclasses.replace(found, **without, weights_sha256="") == card(**without)
    assert "- test: top-1 87.60 %" in (tiny / "README.md").read_text(encoding="utf-8")
    assert "- val: top-1 90.00 %" in (tiny / "README.md").read_text(encoding="utf-8")
    assert (tiny / "weights.safetensors").read_bytes() == weights
    assert sorted(p.name for p in tiny.iterdir()) == sorted(EVERYTHING)


def test_a_temperature_is_added_to_card_and_readme_and_the_bundle_stays_valid(tiny: Path) -> None:
    fitted = {"temperature": 0.5, "split": "val", "n": 33}
    assert add_calibration(tiny, fitted) == read_card(tiny)
    assert read_card(tiny).calibration == fitted
    assert read_card(tiny).temperature == 0.5
    assert "temperature 0.5000, fitted on 33 images of val" in (tiny / "README.md").read_text(encoding="utf-8")
    add_calibration(tiny, None)
    assert read_card(tiny).temperature == 1.0
    assert "temperature" not in (tiny / "README.md").read_text(encoding="utf-8")
    assert dataclasses.replace(read_card(tiny), weights_sha256="") == card(calibration=None)


def test_the_readme_of_a_tagging_network_gives_its_mean_average_precision(tiny: Path) -> None:
    measured = {"n": 40, "map": 0.625, "f1_macro": 0.5}
    add_metrics(tiny, "test", measured, in_words(measured, "tag"))
    assert "- test: mAP 62.50 %, macro F1 50.00 %, 40 images" in (tiny / "README.md").read_text(encoding="utf-8")


def test_metrics_are_not_added_to_a_bundle_that_was_changed(tiny: Path) -> None:
    (tiny / "weights.safetensors").write_bytes(b"something else")
    with pytest.raises(BundleError):
        add_metrics(tiny, "test", MEASURED, in_words(MEASURED))


@pytest.mark.parametrize("write_that_fails", [1, 2, 3])
def test_a_disk_that_fills_up_while_metrics_are_added_leaves_the_bundle_as_it_was(
    tiny: Path, write_that_fails: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (tiny / name).read_bytes() for name in EVERYTHING}
    calls = []

    def full(_: int) -> None:
        calls.append(1)
        if len(calls) == write_that_fails:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        add_metrics(tiny, "test", MEASURED, in_words(MEASURED))
    monkeypatch.undo()
    assert {name: (tiny / name).read_bytes() for name in EVERYTHING} == before
    assert sorted(p.name for p in tiny.iterdir()) == sorted(EVERYTHING)
    read_card(tiny)


def test_a_rewrite_that_breaks_off_leaves_no_bundle_rather_than_a_mixed_one(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "seal", broken)
    with pytest.raises(KeyboardInterrupt):
        write(tiny, {"a": torch.zeros(5)}, card())
    with pytest.raises(BundleError):
        read_card(tiny)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_while_metrics_are_added_leaves_an_unfinished_run_rather_than_a_changed_bundle(
    tiny: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny / "checkpoints").mkdir()
    left, replace = [renames], Path.replace

    def rename(file: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(KeyboardInterrupt):
        add_metrics(tiny, "test", MEASURED, in_words(MEASURED))
    monkeypatch.undo()
    with pytest.raises(BundleError, match="an unfinished run: continue it with --resume"):
        read_card(tiny)


def test_what_a_killed_process_left_half_written_is_gone_with_the_next_bundle(tiny: Path) -> None:
    bundle.stage(tiny / "weights.safetensors", b"half")
    write(tiny, {"a": torch.zeros(5)}, card())
    assert {file.name for file in tiny.iterdir()} == set(EVERYTHING)


def test_a_broken_write_leaves_the_old_content_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        bundle.write_atomically(tmp_path / "a.txt", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.txt", b"old")]


# ---------------------------------------------------------------------------------------------------------------------
# The folder of a new run


def test_a_new_folder_is_made_with_its_parents_and_an_empty_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "a" / "b" / "run", tmp_path / "empty"):
        with new_folder(folder):
            assert folder.is_dir()
            assert not any(folder.iterdir())
            (folder / "result").write_text("x")
        assert (folder / "result").is_file()


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match=r"is not empty: choose another --out, or --resume"), new_folder(tmp_path):
        raise AssertionError("must not be entered")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_folder_of_a_run_that_was_killed_as_it_wrote_its_first_file_is_taken(tmp_path: Path) -> None:
    bundle.stage(tmp_path / "run.json", b"{")
    with new_folder(tmp_path):
        pass
    (tmp_path / ".hidden").write_text("not ours")
    with pytest.raises(BundleError, match="is not empty"), new_folder(tmp_path):
        raise AssertionError("must not be entered")


def test_a_file_in_the_way_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    for folder in (tmp_path / "notes", tmp_path / "notes" / "run"):
        with pytest.raises(BundleError, match=rf"{folder} .*choose another --out"), new_folder(folder):
            raise AssertionError("must not be entered")
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    for folder in (tmp_path / "locked", tmp_path / "locked" / "run"):
        with pytest.raises(BundleError, match=r"cannot be written \(Permission denied\)"), new_folder(folder):
            raise AssertionError("must not be entered")


def test_a_full_disk_is_refused_before_any_work_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(bundle.shutil, "disk_usage", lambda _: usage._replace(free=5 << 20))
    with pytest.raises(BundleError, match=r"a disk with 5 MB left"), new_folder(tmp_path / "run"):
        raise AssertionError("must not be entered")
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_leaves_its_folder_only_when_something_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), new_folder(tmp_path / "early"):
        raise ValueError("early")
    assert not (tmp_path / "early").exists()
    with pytest.raises(ValueError, match="late"), new_folder(tmp_path / "late"):
        (tmp_path / "late" / "metrics.jsonl").write_text("{}")
        raise ValueError("late")
    assert (tmp_path / "late" / "metrics.jsonl").exists()


def test_weights_on_the_graph_are_written_without_it(tmp_path: Path) -> None:
    learning: Tensor = torch.ones(3, requires_grad=True)
    write(tmp_path, {"w": learning}, card())
    assert not read_weights(tmp_path)["w"].requires_grad
