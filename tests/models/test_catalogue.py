"""Named weights: the right numbers with the right names, fetched whole or not at all."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from huggingface_hub import constants, hf_hub_download
from safetensors.torch import save

from skipway import download, models
from skipway.errors import SkipwayError, UnknownNameError
from skipway.models.pretrained import hub, registry
from skipway.models.pretrained.registry import WEIGHTS, imagenet_classes
from skipway.models.pretrained.weights import find, is_available, is_cached, locate, network_of

CONTENT = save({"conv1.weight": torch.arange(60_000.0)})
SHA256 = hashlib.sha256(CONTENT).hexdigest()

# ---------------------------------------------------------------------------------------------------------------------
# What is known


def test_every_weight_of_torchvision_for_our_networks_has_a_name() -> None:
    named = {w.url for w in WEIGHTS.values() if w.source == "torchvision"}
    for net in torchvision.models.list_models(module=torchvision.models):
        if net in models.NETWORKS:
            for weights in torchvision.models.get_model_weights(net):
                assert weights.url in named or weights.meta["categories"] is None, weights.url


def test_every_named_weight_is_of_a_network_that_there_is() -> None:
    assert {w.net for w in WEIGHTS.values()} <= set(models.NETWORKS)


@pytest.mark.parametrize(
    ("name", "top1", "top5", "size", "resize"),
    [
        ("resnet50.tv_v1", 76.130, 92.862, 224, 256),
        ("resnet50.tv_v2", 80.858, 95.434, 224, 232),
        ("resnext101_64x4d.tv_v1", 83.246, 96.454, 224, 232),
        ("vgg19_bn.tv_v1", 74.218, 91.842, 224, 256),
        ("resnet50.a1_in1k", 81.214, 95.102, 288, 288),
        ("resnet50.a3_in1k", 78.048, 93.780, 224, 235),
        ("resnet34.ra4_e3600_r224_in1k", 77.492, None, 224, 248),
        ("seresnet50.ra2_in1k", 81.284, 95.652, 288, 303),
        ("resnet20.akamaster", 91.73, None, 32, 32),
    ],
)
def test_a_name_carries_its_published_accuracy_and_the_crop_it_was_measured_with(
    name: str, top1: float, top5: float | None, size: int, resize: int
) -> None:
    w = WEIGHTS[name]
    assert (w.top1, w.top5, w.size, w.resize) == (top1, top5, size, resize)


def test_every_record_is_complete() -> None:
    for name, w in WEIGHTS.items():
        assert name == w.name
        assert name.split(".")[0] == w.net
        assert w.licence
        assert w.measured
        assert len(w.classes) == {"cifar10": 10, "ImageNet-1k": 1000, "Tiny ImageNet": 180}[w.data]
        assert w.interpolation in ("bilinear", "bicubic")
        assert w.top1 is not None
        assert 40 < w.top1 < 100
        assert w.checksum or w.url.startswith("hf:"), "the hub names the checksum itself"


def test_googlenet_is_fed_as_tensorflow_feeds_it() -> None:
    net = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True, aux_logits=False)
    image = torch.rand(1, 3, 8, 8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (registry.IMAGENET_MEAN, registry.IMAGENET_STD))
    w = WEIGHTS["googlenet.tv_v1"]
    ours = (image - torch.tensor(w.mean).view(3, 1, 1)) / torch.tensor(w.std).view(3, 1, 1)
    torch.testing.assert_close(net._transform_input((image - mean) / std), ours)


def test_timms_rows_agree_with_timm() -> None:
    timm = pytest.importorskip("timm")
    for w in WEIGHTS.values():
        if w.source != "timm":
            continue
        config = timm.models.get_pretrained_cfg(w.url.removeprefix("hf:timm/").removesuffix("/model.safetensors"))
        assert w.url == f"hf:{config.hf_hub_id}/model.safetensors", w.name
        assert (w.mean, w.std, w.interpolation) == (config.mean, config.std, config.interpolation), w.name
        assert w.licence == config.license, w.name
        crops = {config.input_size[1]: config.crop_pct}
        if config.test_input_size:
            crops[config.test_input_size[1]] = config.test_crop_pct or config.crop_pct
        assert w.resize == int(w.size / crops[w.size]), w.name


def test_the_thousand_classes_are_there_in_order() -> None:
    names = imagenet_classes()
    assert len(names) == 1000
    assert (names[0], names[1], names[340], names[999]) == ("tench", "goldfish", "zebra", "toilet tissue")


# ---------------------------------------------------------------------------------------------------------------------
# What a text means


@pytest.mark.parametrize(
    ("model", "tag"), [("resnet20", "tv_v1"), ("plain18", "tv_v1"), ("resnet50_v1", "tv_v1"), ("resnet18", "tv_v2")]
)
def test_weights_that_do_not_exist_are_said_to_be_lacking(model: str, tag: str) -> None:
    with pytest.raises(SkipwayError, match=rf"no {tag} weights of {model}"):
        find(model, tag)


def test_weights_of_another_network_are_refused_by_name() -> None:
    with pytest.raises(SkipwayError, match=r"resnet50\.tv_v2 are weights of resnet50, not of resnet18"):
        find("resnet18", "resnet50.tv_v2")


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'resnet50\.tv_v[12]'"):
        find(None, "resnet50.tv_v9")


@pytest.mark.parametrize("text", ["hf:timm", "hf:", "hf:a/b/", "hf:a b/c", "hf:a/b@/c.safetensors"])
def test_a_place_on_the_hub_has_one_form(text: str) -> None:
    with pytest.raises(SkipwayError, match="not a valid hub name"):
        hub.parse(text)


def test_a_place_on_the_hub_is_read_in_its_parts() -> None:
    assert hub.parse("hf:timm/resnet50.a1_in1k") == ("timm/resnet50.a1_in1k", "model.safetensors", None)
    assert hub.parse("hf:a/b@v1.0/deep/x.safetensors") == ("a/b", "deep/x.safetensors", "v1.0")


def test_a_pickle_on_the_hub_is_refused_unread() -> None:
    with pytest.raises(SkipwayError, match="only such files are loaded from the hub"):
        locate(None, "hf:a/b/pytorch_model.bin")


@pytest.mark.parametrize(
    ("text", "net"),
    [
        ("resnet18.tv_v1", "resnet18"),
        ("resnet20.akamaster", "resnet20"),
        ("embedded", "resnet18d_x0_5"),
        ("resnet18d_x0_5.embedded", None),  # where this copy has none
        ("hf:timm/resnet50.a1_in1k", "resnet50"),
        ("hf:timm/resnet50.a1_in1k@main", "resnet50"),
        ("hf:timm/resnetv2_50.a1h_in1k/model.safetensors", "preresnet50"),
        ("hf:timm/resnet18.some_new_tag", "resnet18"),
        ("hf:timm/vit_base_patch16_224.augreg_in21k", None),
        ("hf:somebody/resnet50.a1_in1k", None),
        ("tv_v1", None),
        ("nonsense", None),
        ("nowhere/net.pth", None),
    ],
)
def test_weights_tell_their_network_without_a_download(
    text: str, net: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    monkeypatch.delitem(WEIGHTS, "resnet18d_x0_5.embedded", raising=False)
    assert network_of(text) == net


def test_a_bundle_and_a_file_in_it_tell_their_network_by_the_card(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(CONTENT)
    card = tmp_path / "card.json"
    for content in ("", "[]", "{}", '{"network": {"name": "nonsense"}}', '{"network": {"name": 3}}'):
        card.write_text(content)
        assert network_of(str(tmp_path)) is None
    card.write_text(json.dumps({"network": {"name": "resnet32"}}))
    assert network_of(str(tmp_path)) == network_of(str(tmp_path / "weights.safetensors")) == "resnet32"


def test_a_file_tells_its_network_by_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.safetensors").write_bytes(CONTENT)
    assert network_of(str(tmp_path / "w.safetensors")) is None
    monkeypatch.setitem(WEIGHTS, "resnet18.tv_v1", replace(WEIGHTS["resnet18.tv_v1"], checksum=f"sha256:{SHA256[:8]}"))
    assert network_of(str(tmp_path / "w.safetensors")) == "resnet18"


# ---------------------------------------------------------------------------------------------------------------------
# Fetching


@dataclass
class Served:
    """A server of one content; it answers as the hub does, and may break off."""

    address: str = ""
    content: bytes = CONTENT
    sha256: str = SHA256
    break_after: int | None = None
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler, body_wanted: bool) -> None:
        if self.status != 200:
            handler.send_response(self.status)
            handler.send_header("X-Error-Code", "RepoNotFound")
            handler.end_headers()
            return
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(self.content) - start))
        handler.send_header("ETag", f'"{self.sha256}"')
        handler.send_header("X-Repo-Commit", "0" * 40)
        handler.end_headers()
        if body_wanted:
            self.ranges.append(asked)
            handler.wfile.write(self.content[start:][: self.break_after])


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    """What a process remembers of hosts is forgotten: ports are used again."""
    download.host_responds.cache_clear()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self, body_wanted=True)

        def do_HEAD(self) -> None:
            state.answer(self, body_wanted=False)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", state.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.address + "/{repo_id}/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ours(served: Served, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of weights that the server holds."""
    record = replace(
        WEIGHTS["resnet18.tv_v1"], url=f"{served.address}/w-1.safetensors", checksum=f"sha256:{SHA256[:8]}"
    )
    monkeypatch.setitem(WEIGHTS, "resnet18.tv_v1", record)
    return "resnet18.tv_v1"


def test_named_weights_are_fetched_once_and_found_by_tag_too(served: Served, ours: str) -> None:
    for model, text in ((None, ours), ("resnet18", "tv_v1"), ("resnet18", ours)):
        found = find(model, text)
        assert found.file.read_bytes() == CONTENT
        assert found.record is not None and found.record.resize == 256
        assert list(found.weights) == ["conv1.weight"]
    assert served.ranges == [None]


def test_a_broken_download_leaves_nothing_that_looks_whole_and_goes_on(served: Served, ours: str) -> None:
    served.break_after = 100_000
    with pytest.raises(SkipwayError, match="the connection ended after 100000"):
        locate(None, ours)
    assert not hub.local_path(WEIGHTS[ours]).exists()
    served.break_after = None
    assert locate(None, ours)[0].read_bytes() == CONTENT
    assert served.ranges == [None, "bytes=100000-"]


def test_a_download_with_another_checksum_is_refused_and_removed(served: Served, ours: str) -> None:
    served.content = CONTENT[:-1] + b"?"
    with pytest.raises(SkipwayError, match="does not have the checksum"):
        locate(None, ours)
    assert not list(hub.local_path(WEIGHTS[ours]).parent.iterdir())


def test_a_cached_file_that_changed_is_refused_and_removed(served: Served, ours: str) -> None:
    file = locate(None, ours)[0]
    file.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(
        SkipwayError, match=r"w-1\.safetensors does not have the checksum .*download it again"
    ) as caught:
        locate(None, ours)
    assert "\n" not in str(caught.value)
    assert locate(None, ours)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("variable", ["SKIPWAY_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("text", ["resnet18.tv_v1", "hf:owner/name"])
def test_offline_nothing_is_asked_for_and_what_is_cached_serves(
    variable: str, text: str, served: Served, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SkipwayError, match=f"{variable} is set: unset it to download") as caught:
        locate(None, text)
    assert "\n" not in str(caught.value)
    assert not served.ranges
    monkeypatch.delenv(variable)
    file = locate(None, text)[0]
    monkeypatch.setenv(variable, "1")
    assert locate(None, text)[0] == file


def test_a_file_on_the_hub_is_fetched_once_and_checked(served: Served) -> None:
    for _ in range(2):
        file, record = locate(None, "hf:owner/name")
        assert file.read_bytes() == CONTENT
        assert record is None
    assert served.ranges == [None]


def test_a_hub_file_with_another_content_is_refused_and_removed(served: Served, tmp_path: Path) -> None:
    served.content = CONTENT[:-1] + b"?"
    with pytest.raises(
        SkipwayError, match=r"hf:owner/name/model\.safetensors does not have the checksum .*removed"
    ) as caught:
        locate(None, "hf:owner/name")
    assert "\n" not in str(caught.value)
    assert not [f for f in (tmp_path / "hub").rglob("*") if f.is_file() and f.stat().st_size == len(CONTENT)]


def test_a_repository_that_does_not_exist_is_said(served: Served) -> None:
    served.status = 404
    with pytest.raises(SkipwayError, match=r"hf:owner/name/model\.safetensors does not exist on the hub") as caught:
        locate(None, "hf:owner/name")
    assert "\n" not in str(caught.value)


def test_a_hub_out_of_reach_is_said_with_what_to_do(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(SkipwayError, match=r"cannot download hf:owner/name.*no route to host.*resumes") as caught:
        locate(None, "hf:owner/name")
    assert "\n" not in str(caught.value)


def test_timms_names_are_places_on_the_hub(served: Served) -> None:
    file, record = locate(None, "resnet50.a1_in1k")
    assert record is WEIGHTS["resnet50.a1_in1k"]
    assert "models--timm--resnet50.a1_in1k" in str(file)
    assert locate(None, "hf:timm/resnet50.a1_in1k") == (file, record), "the long form is known by its name"
    assert Path(hf_hub_download("timm/resnet50.a1_in1k", "model.safetensors")) == file, "other programs share it"


# ---------------------------------------------------------------------------------------------------------------------
# What is said before, and what is asked without fetching


def test_before_named_weights_are_fetched_one_line_says_what_they_are(
    served: Served, ours: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        locate(None, ours)
    out, err = capfd.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if "downloading" in line] == [
        "downloading resnet18.tv_v1 weights: 44.7 MB from 127.0.0.1, BSD-3-Clause, trained on ImageNet-1k "
        "(non-commercial research terms may apply to the data); once, to ~/cache/weights"
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("hf:owner/name", "hf:owner/name/model.safetensors: 0.2 MB from 127.0.0.1, licence: see its page"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k weights: 0.2 MB from 127.0.0.1, apache-2.0, trained on ImageNet-1k"),
    ],
)
def test_before_a_file_of_the_hub_is_fetched_its_size_is_asked_and_said(
    text: str, what: str, served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        locate(None, text)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("downloading")]
    assert len(said) == 1
    assert said[0].startswith(f"downloading {what}")
    assert said[0].endswith("/hub")


def test_what_is_not_there_is_not_announced(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    served.status = 404
    with pytest.raises(SkipwayError, match="does not exist on the hub"):
        locate(None, "hf:owner/name")
    assert "downloading" not in capfd.readouterr().err


@pytest.mark.parametrize("text", ["resnet18.tv_v1", "hf:owner/name", "resnet50.a1_in1k"])
def test_whether_weights_are_cached_is_told_without_asking_anybody(
    text: str, served: Served, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "send_head", lambda _: pytest.fail("a server was asked"))
    assert not is_cached(text)
    assert not served.ranges
    monkeypatch.undo()


@pytest.mark.parametrize("text", ["resnet18.tv_v1", "hf:owner/name", "resnet50.a1_in1k"])
def test_fetched_weights_are_cached_and_at_hand_offline(
    text: str, served: Served, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_available(text), "their host answers"
    locate(None, text)
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    assert is_cached(text)
    assert is_available(text)


def test_a_tag_and_a_file_are_told_to_be_cached_too(
    served: Served, ours: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.safetensors").write_bytes(CONTENT)
    assert is_cached(str(tmp_path / "w.safetensors"))
    assert not is_cached("tv_v1", "resnet18")
    locate("resnet18", "tv_v1")
    assert is_cached("tv_v1", "resnet18")
    assert not is_cached("tv_v1")
    assert not is_available("nonsense")


@pytest.mark.parametrize("text", ["resnet18.tv_v1", "hf:owner/name"])
def test_offline_what_is_not_cached_is_not_at_hand(
    text: str, served: Served, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    assert not is_available(text)


def test_cached_weights_of_the_hub_serve_at_once_when_nobody_answers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = locate(None, "hf:owner/name")[0]
    monkeypatch.setattr(download, "REACHABLE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/{revision}/{filename}")
        began = time.monotonic()
        assert locate(None, "hf:owner/name")[0] == file
        assert time.monotonic() - began < hub.METADATA_SECONDS / 2
