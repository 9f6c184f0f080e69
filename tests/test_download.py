"""Downloads from a server that responds, disconnects, ignores ranges and refuses; and CIFAR in its binary layout."""

import gc
import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from skipway import download
from skipway.data import open_dataset
from skipway.data.formats import cifar
from skipway.download import Notice, fetch, reachable
from skipway.errors import DataError, SkipwayError

CONTENT = np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8).tobytes()
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class Served:
    """What the server holds, how it behaves, and what it was asked and sent."""

    address: str = ""
    content: bytes = CONTENT
    break_after: int | None = None
    ignores_range: bool = False
    chunked: bool = False
    status: int = 200
    pause: float = 0.0  # seconds before a response
    length: str | None = None  # the Content-Length, instead of the right one
    moved_to: str = ""
    requests: list[str | None] = field(default_factory=list)
    sent: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.requests.append(asked)
        time.sleep(self.pause)
        if self.moved_to:
            handler.send_response(302)
            handler.send_header("Location", self.moved_to)
            if self.length is not None:
                handler.send_header("Content-Length", self.length)
            handler.end_headers()
            return
        if self.status != 200:
            handler.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and not self.ignores_range else 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if self.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(len(body)) if self.length is None else self.length)
        handler.end_headers()
        body = body[: self.break_after]
        handler.wfile.write(b"%x\r\n" % (len(body) + 1000) + body if self.chunked else body)
        self.sent += len(body)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_arrives_whole_and_is_not_asked_for_twice(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "cache" / "a.bin"
    for _ in range(2):
        assert fetch(f"{served.address}/a.bin", file, MD5) == file
        assert file.read_bytes() == CONTENT
    assert served.requests == [None]
    assert [p.name for p in file.parent.iterdir()] == ["a.bin"]


def test_a_download_leaves_standard_output_alone(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert capfd.readouterr().out == "", "which may be JSON that another program reads"


def test_another_content_is_removed_and_said(served: Served, tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match=r"the file from .*/a\.bin does not have the checksum md5:0123.*removed"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", "md5:0123")
    assert not list(tmp_path.iterdir())


def test_a_broken_download_goes_on_where_it_stopped(served: Served, tmp_path: Path) -> None:
    served.break_after = 300_000
    with pytest.raises(SkipwayError, match=r"the connection ended after 300000 of 700000 bytes.*try again"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin.part"]
    with pytest.raises(SkipwayError, match="the connection ended after 600000 of 700000"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    served.break_after = None
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert served.requests == [None, "bytes=300000-", "bytes=600000-"]
    assert served.sent == len(CONTENT), "no byte twice"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_server_that_cannot_go_on_is_begun_anew(served: Served, tmp_path: Path) -> None:
    served.ignores_range = True
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert served.requests == ["bytes=1000-"]


def test_a_whole_part_needs_nothing_more(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert served.sent == 0


def test_a_part_of_something_else_is_found_out(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(bytes(1000))
    with pytest.raises(SkipwayError, match="does not have the checksum"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_servers_refusal_is_said_with_its_number(served: Served, tmp_path: Path, status: int) -> None:
    served.status = status
    with pytest.raises(SkipwayError, match=rf"/a\.bin responded with HTTP {status}: .*put the file at .*a\.bin"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)


def test_a_chunked_answer_that_breaks_off_is_said_too(served: Served, tmp_path: Path) -> None:
    served.chunked, served.break_after = True, 100_000
    with pytest.raises(SkipwayError, match=r"cannot download .*/a\.bin"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)


def test_being_offline_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:  # bound and not listening, so that nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.bin"
        with pytest.raises(
            SkipwayError, match=r"cannot download .*: check the connection .*put the file at .*a\.bin"
        ) as caught:
            fetch(url, tmp_path / "a.bin", MD5)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_made_is_named(served: Served, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(SkipwayError, match=str(tmp_path / "cache")):
        fetch(f"{served.address}/a.bin", tmp_path / "cache" / "a.bin", MD5)


def test_a_download_is_said_before_the_server_is_asked(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    served.status = 503
    with pytest.raises(SkipwayError):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5, Notice("these", 12.34, "no terms"))
    assert capfd.readouterr().err == f"downloading these: 12.3 MB from 127.0.0.1, no terms; once, to {tmp_path}\n"


def test_what_is_there_or_forbidden_is_not_said_to_be_downloaded(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    with pytest.raises(SkipwayError, match="SKIPWAY_OFFLINE is set"):
        fetch(f"{served.address}/b.bin", tmp_path / "b.bin", MD5)
    assert capfd.readouterr().err == ""


TWO = """
import sys
from pathlib import Path
from skipway.download import fetch
print(fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3]).read_bytes()[:4].hex())
"""


def test_of_two_processes_one_downloads_and_both_have_the_file(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    served.pause = 0.5
    command = [sys.executable, "-c", TWO, f"{served.address}/a.bin", str(tmp_path / "a.bin"), MD5]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0], ends
    assert {out for out, _ in ends} == {CONTENT[:4].hex() + "\n"}
    assert served.sent == len(CONTENT), "no byte twice"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_download_that_another_thread_has_removed_is_begun_anew(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first one gets another content, and removes it while the second waits for its lock, and says so once."""
    served.pause = 0.3
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(fetch, f"{served.address}/a.bin", tmp_path / "a.bin", "md5:0123")
        while not served.requests:
            time.sleep(0.01)
        second = threads.submit(fetch, f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
        with pytest.raises(SkipwayError, match="does not have the checksum"):
            first.result()
        assert second.result().read_bytes() == CONTENT
    assert served.requests == [None, None]
    assert capfd.readouterr().err.count("waiting for another process") == 1


def test_a_refused_range_without_a_part_is_an_error_of_the_server(served: Served, tmp_path: Path) -> None:
    served.content = b""  # this server then responds with 416 to any request
    with pytest.raises(SkipwayError, match=r"a\.bin responded with HTTP 416"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", ["many", "-5", "1e9", "0x10", " ", "5, 5"])
def test_a_length_that_is_no_number_is_refused(served: Served, tmp_path: Path, length: str) -> None:
    served.length = length
    with pytest.raises(SkipwayError, match="has no valid Content-Length"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib leaves the response open
def test_a_redirect_of_an_absurd_length_is_refused(served: Served, tmp_path: Path) -> None:
    served.moved_to, served.length = f"{served.address}/b.bin", "9" * 30
    with pytest.raises(SkipwayError, match="cannot download") as caught:
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert "\n" not in str(caught.value)
    del caught
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib leaves the response open
@pytest.mark.parametrize("place", ["http://[::1", "http://host:port/", "http://" + "a" * 70 + ".invalid/"])
def test_a_server_that_names_an_address_without_meaning_is_refused(served: Served, tmp_path: Path, place: str) -> None:
    served.moved_to = place
    with pytest.raises(SkipwayError, match="cannot download") as caught:
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert "\n" not in str(caught.value)
    del caught
    gc.collect()


def test_a_part_that_is_a_link_or_a_pipe_is_refused_and_nothing_is_written(served: Served, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    part = tmp_path / "a.bin.part"
    makers: list[Callable[[], object]] = [
        lambda: part.symlink_to(tmp_path / "thesis.tex"),
        lambda: part.symlink_to(tmp_path / "nowhere"),
        lambda: part.hardlink_to(tmp_path / "thesis.tex"),
        lambda: os.mkfifo(part),
        part.mkdir,
    ]
    for make in makers:
        make()
        with pytest.raises(SkipwayError, match=r"a\.bin\.part (cannot be written|is no file of its own).*: remove it"):
            fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
        part.rmdir() if part.is_dir() else part.unlink()
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    assert not served.requests


def test_a_folder_at_the_files_place_is_no_download(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(SkipwayError, match=r"a\.bin is no file.*: remove it"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)


# ---------------------------------------------------------------------------------------------------------------------
# Whether a host responds


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    """What a process remembers of hosts is forgotten: ports are used again."""
    download.host_responds.cache_clear()


@pytest.fixture
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_server_that_answers_is_reachable_whatever_it_says_and_is_asked_once(served: Served) -> None:
    assert reachable(f"{served.address}/a.bin")  # it answers HEAD with 501
    assert not served.requests, "nothing is fetched"
    download.host_responds.cache_clear()
    assert reachable(f"{served.address}/a.bin")
    assert reachable(f"{served.address}/b.bin")
    assert download.host_responds.cache_info().misses == 1


def test_nothing_is_reachable_offline(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "send_head", lambda _: pytest.fail("a server was asked"))
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    assert not reachable(served.address)


@pytest.mark.usefixtures("_no_proxy")
def test_a_refused_connection_and_an_unknown_name_are_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not reachable(f"http://127.0.0.1:{taken.getsockname()[1]}/a")
    assert not reachable("http://no-such-host.invalid/a")
    assert not reachable("nonsense")


@pytest.mark.usefixtures("_no_proxy")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_says_nothing_costs_the_time_of_one_wait(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "REACHABLE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a"
        began = time.monotonic()
        assert not any(reachable(url) for _ in range(20))
        assert time.monotonic() - began < 2


def test_a_name_that_is_looked_up_without_end_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def stuck(*_: object, **__: object) -> None:
        released.wait(30)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(download, "REACHABLE_TIMEOUT", 0.2)
    monkeypatch.setattr(download.urllib.request, "urlopen", stuck)
    began = time.monotonic()
    assert not reachable("http://somewhere.invalid/a")
    assert time.monotonic() - began < 2
    released.set()


def test_a_proxy_that_does_not_reach_the_host_is_no_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, served.address)
    for scheme in ("http", "https"):  # of the second it is asked for a tunnel, which it does not know
        monkeypatch.setattr(download, "PROXY_ERRORS", (*download.PROXY_ERRORS, 501))  # what this server says to HEAD
        assert not reachable(f"{scheme}://somewhere.invalid/a")


# ---------------------------------------------------------------------------------------------------------------------
# CIFAR through such a server


def records(count: int, label_bytes: int, classes: int, seed: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """`count` records in the binary layout, with their labels and their images (count, 32, 32, 3)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (count, label_bytes), dtype=np.uint8)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    planar = images.transpose(0, 3, 1, 2).reshape(count, -1)  # all red, all green, all blue, row by row
    return np.concatenate([labels, planar], axis=1).tobytes(), labels[:, -1], images


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"some-folder/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def offer(served: Served, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """`content` as the archive of `name`, at the address and with the checksum that skipway then expects."""
    served.content = content
    checked = replace(cifar.ARCHIVES[name], checksum=f"md5:{hashlib.md5(content).hexdigest()}")
    monkeypatch.setitem(cifar.ARCHIVES, name, checked)
    monkeypatch.setattr(cifar, "PAGE", served.address)
    monkeypatch.setenv("SKIPWAY_CACHE", str(cache))


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_cifar10_is_downloaded_once_and_read(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [records(4, 1, 10, seed) for seed in range(6)]
    files = {f"data_batch_{i}.bin": batches[i - 1][0] for i in (3, 1, 2, 5, 4)}  # in no order
    files |= {"test_batch.bin": batches[5][0], "batches.meta.txt": "\n".join([*CIFAR10, ""]).encode()}
    offer(served, "cifar10", archive(files), monkeypatch, tmp_path)
    for _ in range(2):
        dataset = open_dataset("cifar10")
    assert len(served.requests) == 1
    assert dataset.classes == tuple(CIFAR10)
    np.testing.assert_array_equal(dataset.train.items, np.concatenate([b[2] for b in batches[:5]]))
    np.testing.assert_array_equal(dataset.train.labels, np.concatenate([b[1] for b in batches[:5]]))
    np.testing.assert_array_equal(dataset.test.items, batches[5][2])
    np.testing.assert_array_equal(dataset.test.labels, batches[5][1])
    assert dataset.test.names[2] == "cifar10 test[2]"


def test_cifar100_takes_the_fine_labels(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = records(6, 2, 100, 0), records(3, 2, 100, 1)
    names = [f"class_{i}" for i in range(100)]
    files = {"train.bin": train[0], "test.bin": test[0], "fine_label_names.txt": "\n".join(names).encode()}
    offer(served, "cifar100", archive(files), monkeypatch, tmp_path)
    dataset = open_dataset("cifar100")
    assert dataset.classes == tuple(names)
    np.testing.assert_array_equal(dataset.train.labels, train[1])
    np.testing.assert_array_equal(dataset.train.items, train[2])
    np.testing.assert_array_equal(dataset.test.labels, test[1])


@pytest.mark.parametrize(
    "content", [b"not an archive", archive({"other.txt": b"x"}), archive({"test_batch.bin": b"x"})]
)
def test_a_wrong_file_placed_by_hand_is_refused_by_name(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The message for those who are offline tells them to place the file, so somebody will place another one.
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):
        open_dataset("cifar10")


def test_the_checksums_are_the_ones_on_the_authors_page() -> None:
    # https://www.cs.toronto.edu/~kriz/cifar.html, "CIFAR-10 binary version" and "CIFAR-100 binary version"
    assert cifar.ARCHIVES["cifar10"].checksum == "md5:c32a1d4ab5d03f1284b67883e8d87530"
    assert cifar.ARCHIVES["cifar100"].checksum == "md5:03b5dce01913d631647c71ecec9e9cb8"
