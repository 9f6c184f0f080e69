"""Foreign weights: read without running anything, fitted by name, refused in words."""

import pickle
import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from skipway.errors import SkipwayError, UnknownNameError
from skipway.models import build
from skipway.models.weights import find, load_all_but_head, read_file


@pytest.mark.parametrize(
    ("file", "net", "layers"), [("resnet20-12fca82f.th", "resnet20", 19), ("resnet56-4bfd9763.th", "resnet56", 55)]
)
def test_others_th_files_are_read_and_their_prefix_taken_off(
    shared_data: Path, file: str, net: str, layers: int
) -> None:
    weights = read_file(shared_data / "weights" / file)
    assert not any(name.startswith("module.") for name in weights)
    assert sum(value.dim() == 4 for value in weights.values()) == layers
    own = {name for name in build(net).state_dict() if not name.startswith("fc.")}
    theirs = {name for name in weights if not name.startswith("linear.")}
    # Their author saved before batch normalisation counted its batches.
    assert {n for n in own if not n.endswith("num_batches_tracked")} == {
        n for n in theirs if not n.endswith("num_batches_tracked")
    }


class Intruder:
    """An object whose unpickling writes a file: what a hostile checkpoint would do, made harmless."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.mark, "I ran")


@pytest.mark.parametrize("suffix", [".pth", ".th", ".pt"])
@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, suffix: str, form: str) -> None:
    mark, file = tmp_path / "mark", tmp_path / f"hostile{suffix}"
    content = {"conv1.weight": torch.zeros(1), "extra": Intruder(mark)}
    if form == "plain pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(SkipwayError, match=r"hostile.*safely") as caught:
        read_file(file)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    if form != "plain pickle":
        torch.load(file, weights_only=False)
        assert mark.exists(), "the file must be one that does run where it is trusted"


@pytest.fixture(scope="module")
def small_weights() -> dict[str, Tensor]:
    return build("resnet20", classes=3).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".th"])
def test_weights_come_back_from_a_file_bit_by_bit(
    tmp_path: Path, suffix: str, small_weights: dict[str, Tensor]
) -> None:
    file = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(small_weights, file)
    found = read_file(file)
    assert set(found) == set(small_weights)
    assert all(torch.equal(found[key], value) for key, value in small_weights.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_parallel_trainers_prefix_is_taken_off_in_either_format(tmp_path: Path, suffix: str) -> None:
    file, weights = tmp_path / f"w{suffix}", {"module.fc.bias": torch.arange(3.0)}
    (save_file if suffix == ".safetensors" else torch.save)(weights, file)
    assert list(read_file(file)) == ["fc.bias"]


def test_a_checkpoint_with_more_than_weights_gives_the_weights(tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3, "best": 0.9}, tmp_path / "c.pth")
    assert list(read_file(tmp_path / "c.pth")) == ["a"]


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"<html>not found</html>", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x85."]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"odd{suffix}"
    file.write_bytes(content)
    with pytest.raises(SkipwayError, match=rf"odd\{suffix}") as caught:
        read_file(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("default:Detected pickle protocol:UserWarning")  # torch's own, on a damaged first byte
def test_a_damaged_checkpoint_is_read_or_refused_but_never_a_traceback(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "good.pth", _use_new_zipfile_serialization=zipped)
    good = (tmp_path / "good.pth").read_bytes()
    odd, escaped = tmp_path / "odd.pth", set()
    for place in range(0, min(len(good), 400), 3):
        for value in (0x00, 0x85, 0xFF):
            odd.write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
            try:
                read_file(odd)
            except SkipwayError:
                continue
            except Exception as fault:
                escaped.add(type(fault).__name__)
    assert not escaped


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], {"state_dict": [1]}, {"state_dict": {}}, {"epoch": 3}, {1: torch.ones(2)}]
)
def test_a_file_without_weights_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(SkipwayError, match=r"none\.pth.*state dict"):
        read_file(tmp_path / "none.pth")


def test_weights_of_another_network_are_refused_with_what_differs(small_weights: dict[str, Tensor]) -> None:
    net = build("resnet32", classes=3)
    with pytest.raises(SkipwayError, match=r"do not fit resnet32: 60 missing \(layer1\.3\.conv1") as caught:
        load_all_but_head(net, small_weights, "resnet32")
    assert "0 unexpected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_file_leaves_the_network_untouched(small_weights: dict[str, Tensor]) -> None:
    net = build("resnet32", classes=3)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(SkipwayError):
        load_all_but_head(net, small_weights, "resnet32")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_changed_shape_inside_is_refused(small_weights: dict[str, Tensor]) -> None:
    net = build("resnet20", classes=3, channels=1)
    with pytest.raises(SkipwayError, match=r"another shape \(conv1\.weight\)"):
        load_all_but_head(net, small_weights, "resnet20")


def test_the_head_of_another_number_of_classes_is_left_out_and_said() -> None:
    theirs = torchvision.models.resnet18(weights=None, num_classes=20).state_dict()
    net = build("resnet18", classes=3)
    fresh = net.fc.weight.detach().clone()
    assert load_all_but_head(net, theirs, "resnet18") == ["fc.weight", "fc.bias"]
    own = net.state_dict()
    assert all(torch.equal(own[key], value) for key, value in theirs.items() if not key.startswith("fc."))
    assert torch.equal(net.fc.weight, fresh)


def test_the_head_of_the_same_number_of_classes_is_loaded(small_weights: dict[str, Tensor]) -> None:
    net = build("resnet20", classes=3)
    assert load_all_but_head(net, small_weights, "resnet20") == []
    assert all(torch.equal(value, small_weights[key]) for key, value in net.state_dict().items())


def test_a_missing_head_is_not_taken_for_another_head(small_weights: dict[str, Tensor]) -> None:
    headless = {key: value for key, value in small_weights.items() if not key.startswith("fc.")}
    with pytest.raises(SkipwayError, match=r"2 missing \(fc\.weight, fc\.bias\)"):
        load_all_but_head(build("resnet20", classes=3), headless, "resnet20")


def test_a_file_or_a_bundles_folder_stands_for_its_weights(tmp_path: Path, small_weights: dict[str, Tensor]) -> None:
    save_file(small_weights, tmp_path / "weights.safetensors")
    for given in (tmp_path, tmp_path / "weights.safetensors"):
        found = find("resnet20", str(given))
        assert set(found.weights) == set(small_weights)
        assert found.resize is None


def test_an_unknown_tag_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'tv_v[12]'"):
        find("resnet50", "tv_v3")


@pytest.mark.parametrize(
    ("model", "tag"), [("resnet20", "tv_v1"), ("plain18", "tv_v1"), ("resnet50_v1", "tv_v1"), ("resnet18", "tv_v2")]
)
def test_weights_that_torchvision_lacks_are_said_to_be_lacking(model: str, tag: str) -> None:
    with pytest.raises(SkipwayError, match=rf"no {tag} weights of {model}"):
        find(model, tag)


def test_a_tag_gives_torchvisions_weights_and_their_evaluation_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def download(url: str, *_args: object, check_hash: bool = False, **_options: object) -> dict[str, Tensor]:
        asked.append((url, check_hash))
        return {"fc.bias": torch.zeros(1000)}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    assert find("resnet50", "tv_v1").resize == 256
    assert find("resnet50", "tv_v2").resize == 232
    assert [url.rsplit("/", 1)[-1] for url, _ in asked] == ["resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"]
    assert all(check for _, check in asked), "a download must be verified"


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_options: object) -> dict[str, Tensor]:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(SkipwayError, match=r"cannot download https://.*no route to host.*--pretrained"):
        find("resnet18", "tv_v1")
