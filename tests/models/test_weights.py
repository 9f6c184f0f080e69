"""Foreign weights: read without running anything, fitted by name, refused in words."""

import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from skipway.errors import SkipwayError, UnknownNameError
from skipway.models import build
from skipway.models.pretrained.convert import translate
from skipway.models.pretrained.state_dict_check import MismatchError, adapt_first, compare, load_all_but_head
from skipway.models.pretrained.state_dicts import read_state_dicts
from skipway.models.pretrained.weights import find, load, read_for


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors of the likeliest state dict in a file, under the names that the file gives them."""
    return read_state_dicts(file)[0].tensors


@pytest.mark.parametrize(
    ("file", "net", "layers"), [("resnet20-12fca82f.th", "resnet20", 19), ("resnet56-4bfd9763.th", "resnet56", 55)]
)
def test_others_th_files_are_read_and_their_prefix_taken_off(
    shared_data: Path, file: str, net: str, layers: int
) -> None:
    found = read_for(shared_data / "weights" / file, net)
    weights = found.weights
    assert "the prefix 'module.' is removed" in found.conversion_notes()
    assert sum(value.dim() == 4 for value in weights.values()) == layers
    own = {name for name in build(net).state_dict() if not name.startswith("fc.")}
    theirs = {name for name in weights if not name.startswith("fc.")}
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
    for model in (None, "resnet20"):
        assert list(read_for(file, model).weights) == ["fc.bias"]


def test_a_checkpoint_with_more_than_weights_gives_the_weights(tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3, "best": 0.9}, tmp_path / "c.pth")
    assert list(read_for(tmp_path / "c.pth", None).weights) == ["a"]


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
    weights = {**small_weights, "layer2.0.conv1.weight": torch.zeros(32, 16, 5, 5)}
    with pytest.raises(MismatchError, match=r"1 with another shape \(layer2\.0\.conv1\.weight\)") as caught:
        load_all_but_head(build("resnet20", classes=3), weights, "resnet20")
    assert caught.value.mismatch.rows() == [
        {"what": "other shape", "name": "layer2.0.conv1.weight", "file": "32x16x5x5", "network": "32x16x3x3"}
    ]


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


def test_a_file_or_a_bundles_folder_stands_for_its_weights(tmp_path: Path, small_weights: dict[str, Tensor]) -> None:
    save_file(small_weights, tmp_path / "weights.safetensors")
    for given in (tmp_path, tmp_path / "weights.safetensors"):
        found = find("resnet20", str(given))
        assert set(found.weights) == set(small_weights)
        assert found.record is None


def test_building_with_weights_takes_their_classes_unless_others_are_asked_for(
    tmp_path: Path, small_weights: dict[str, Tensor]
) -> None:
    save_file(small_weights, tmp_path / "w.safetensors")
    net = build("resnet20", pretrained=str(tmp_path / "w.safetensors"))
    assert all(torch.equal(value, small_weights[key]) for key, value in net.state_dict().items())
    other = build("resnet20", classes=5, pretrained=str(tmp_path / "w.safetensors"))
    assert other.fc.weight.shape == (5, 64)
    assert torch.equal(other.conv1.weight, small_weights["conv1.weight"])


def test_known_weights_are_refused_for_a_network_of_the_same_shapes(shared_data: Path) -> None:
    with pytest.raises(SkipwayError, match=r"are weights of resnet20, not of plain20"):
        find("plain20", str(shared_data / "weights" / "resnet20-12fca82f.th"))


def test_what_trainers_wrap_weights_in_is_taken_off(tmp_path: Path) -> None:
    torch.save({"model": {"module._orig_mod.a": torch.ones(2), "_orig_mod.module.b": torch.ones(2)}}, tmp_path / "c.pt")
    assert sorted(read_for(tmp_path / "c.pt", None).weights) == ["a", "b"]


def test_an_unknown_tag_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'tv_v[12]'"):
        find("resnet50", "tv_v3")


def test_a_place_that_does_not_exist_is_not_taken_for_a_name() -> None:
    for text in ("nowhere/net.pth", "net.safetensors", "owner/repository"):
        with pytest.raises(SkipwayError, match=rf"{text} does not exist.*hf:owner/repository"):
            find("resnet50", text)


# ---------------------------------------------------------------------------------------------------------------------
# The table of what differs


def test_every_entry_that_differs_is_in_the_table(small_weights: dict[str, Tensor]) -> None:
    weights = {key: value for key, value in small_weights.items() if not key.startswith("layer3.2.bn2")}
    weights |= {"extra.weight": torch.zeros(2), "conv1.weight": torch.zeros(16, 3, 7, 7)}
    mismatch = compare(build("resnet20", classes=3), weights)
    assert mismatch.missing == tuple(f"layer3.2.bn2.{n}" for n in ("weight", "bias", "running_mean", "running_var"))
    assert mismatch.unexpected == ("extra.weight",)
    assert mismatch.misshapen == (("conv1.weight", (16, 3, 7, 7), (16, 3, 3, 3)),)
    assert len(mismatch.rows()) == 6


def test_what_old_files_lack_is_no_mismatch(small_weights: dict[str, Tensor]) -> None:
    old = {key: value for key, value in small_weights.items() if not key.endswith("num_batches_tracked")}
    assert not compare(build("resnet20", classes=3), old)


def test_auxiliary_classifiers_may_be_absent_whole_but_not_in_part() -> None:
    net = build("googlenet", classes=5)
    whole = net.state_dict()
    without = {key: value for key, value in whole.items() if not key.startswith("aux")}
    assert not compare(net, without)
    assert load_all_but_head(net, without, "googlenet") == []
    torn = {key: value for key, value in whole.items() if not key.startswith("aux1.fc1")}
    assert compare(net, torn).missing == ("aux1.fc1.weight", "aux1.fc1.bias")


def test_every_head_stays_fresh_where_the_classes_are_others() -> None:
    weights = build("googlenet", classes=7).state_dict()
    heads = [f"{head}.{part}" for head in ("aux1.fc2", "aux2.fc2", "fc") for part in ("weight", "bias")]
    assert sorted(load_all_but_head(build("googlenet", classes=5), weights, "googlenet")) == sorted(heads)


# ---------------------------------------------------------------------------------------------------------------------
# Other channels


def answers(weights: dict[str, Tensor], channels: int, images: Tensor) -> Tensor:
    net = build("resnet20", classes=3, channels=channels).eval()
    load_all_but_head(net, adapt_first(weights, net), "resnet20")
    return net(images)


@pytest.mark.parametrize("channels", [1, 6, 9])
def test_a_grey_image_is_answered_alike_in_one_channel_and_in_several(
    channels: int, small_weights: dict[str, Tensor]
) -> None:
    grey = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        ours, theirs = (answers(small_weights, c, grey.expand(-1, c, -1, -1)) for c in (channels, 3))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_planes_are_repeated_in_turn_and_scaled(small_weights: dict[str, Tensor]) -> None:
    kernel = small_weights["conv1.weight"]
    adapted = adapt_first(small_weights, build("resnet20", classes=3, channels=5))["conv1.weight"]
    torch.testing.assert_close(adapted, torch.cat([kernel, kernel[:, :2]], 1) * 3 / 5)


def test_weights_that_fit_are_left_as_they_are(small_weights: dict[str, Tensor]) -> None:
    assert adapt_first(small_weights, build("resnet20", classes=3)) is small_weights


def test_what_was_done_to_weights_is_said(tmp_path: Path, small_weights: dict[str, Tensor]) -> None:
    save_file(small_weights, tmp_path / "w.safetensors")
    found = find("resnet20", str(tmp_path / "w.safetensors"))
    assert load(build("resnet20", classes=3), found, "resnet20") == []
    assert load(build("resnet20", classes=4, channels=1), found, "resnet20") == [
        "the first convolution is adapted to the number of channels",
        "the classifier for 3 classes is not used; a new one for 4 classes is initialised",
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Others' layouts


def padded_on_both_sides(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The CIFAR network of akamaster's files, written out from the paper's sec. 4.2 with zeros on both sides."""

    def norm(x: Tensor, name: str) -> Tensor:
        parts = (weights[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = F.relu(norm(F.conv2d(x, weights["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3):
        for unit in range(3):
            name, stride = f"layer{stage}.{unit}", 2 if stage > 1 and unit == 0 else 1
            y = F.relu(norm(F.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = norm(F.conv2d(y, weights[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            side = (y.shape[1] - x.shape[1]) // 2
            x = F.relu(y + F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, side, side)))
    return F.linear(x.mean((2, 3)), weights["linear.weight"], weights["linear.bias"])


def theirs(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.replace("fc.", "linear."): value for key, value in weights.items()}


def randomised(name: str, classes: int = 10) -> dict[str, Tensor]:
    """Weights in which no two channels are alike, so that a wrong order shows."""
    return roughened(build(name, classes=classes).double()).state_dict()


def roughened(net: nn.Module) -> nn.Module:
    """`net` with scales, biases and statistics drawn anew: some start at 0, which would hide whole branches."""
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point() and value.dim() == 1:
                value.uniform_(0.5, 1.5)
    return net


def test_zeros_on_both_sides_are_reordered_exactly() -> None:
    weights = theirs(randomised("resnet20"))
    turned, said = translate(weights)
    net = build("resnet20").double().eval()
    assert load_all_but_head(net, turned, "resnet20") == []
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), padded_on_both_sides(weights, x), rtol=1e-12, atol=1e-12)
        load_all_but_head(net, {k.replace("linear.", "fc."): v for k, v in weights.items()}, "resnet20")
        assert (net(x) - padded_on_both_sides(weights, x)).abs().max() > 1e-2, "the order must matter"
    assert "linear" in said
    assert "both sides" in said


def test_our_own_names_are_left_as_they_are(small_weights: dict[str, Tensor]) -> None:
    turned, said = translate(small_weights)
    assert turned is small_weights
    assert said == ""


def test_projections_under_a_linear_head_are_not_taken_for_padding() -> None:
    weights = theirs(build("resnet20", shortcut="B").state_dict())
    assert translate(weights) == (weights, "")


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet18d",
        "resnet50d",
        "seresnet50",
        "resnext50_32x4d",
        "densenet121",
        "vgg11",
        "preresnet50",
    ],
)
def test_timms_weights_give_timms_answers(name: str) -> None:
    timm = pytest.importorskip("timm")
    their_name = name.replace("preresnet", "resnetv2_")
    their = roughened(timm.create_model(their_name, num_classes=7)).eval()
    net = build(name, classes=7).eval()
    load_all_but_head(net, translate(their.state_dict())[0], name)
    side = 224 if name.startswith("vgg") else 64
    with torch.no_grad():
        x = torch.randn(1, 3, side, side)
        torch.testing.assert_close(net(x), their(x), rtol=1e-5, atol=1e-5 * float(their(x).abs().max()))


@pytest.mark.parametrize("name", ["resnet18", "resnet18d", "seresnet50"])
def test_timms_weights_learn_as_in_timm(name: str) -> None:
    timm = pytest.importorskip("timm")
    their = roughened(timm.create_model(name, num_classes=7).double()).train()
    net = build(name, classes=7).double().train()
    load_all_but_head(net, translate(their.state_dict())[0], name)
    x, labels = torch.randn(2, 3, 64, 64, dtype=torch.float64), torch.tensor([1, 4])
    losses = [F.cross_entropy(each(x), labels) for each in (their, net)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-10, atol=0)
    ours = dict(net.named_parameters())
    for key, parameter in their.named_parameters():
        torch.testing.assert_close(ours[key].grad, parameter.grad, rtol=1e-6, atol=1e-9)


def test_torchvisions_old_densenet_names_are_read() -> None:
    own = torchvision.models.densenet121(num_classes=2).state_dict()
    old = {
        key.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1").replace("conv2", "conv.2")
        if "denselayer" in key
        else key: value
        for key, value in own.items()
    }
    turned, said = translate(old)
    assert set(turned) == set(own)
    assert "dense" in said
