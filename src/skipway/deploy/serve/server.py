"""The server's processes: one, or several that share a port; each ends when what it accepted is answered."""

import asyncio
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, ClassVar

from skipway import bundle
from skipway.deploy.serve.limits import Limits
from skipway.errors import SkipwayError

if TYPE_CHECKING:
    from uvicorn import Config, Server

    from skipway.deploy.serve.generation import GenerationService
    from skipway.deploy.serve.service import Service

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
HEAVY = ("skipway.deploy.serve.backend", "skipway.deploy.serve.app", "uvicorn.protocols.http.h11_impl")
BACKLOG = 2048  # connections that the system keeps until a process accepts them
GIVEN_UP = 1  # exit code of a process that could not answer everything in its grace
SPARE = 0.5  # seconds of the grace that are left for a process to end in


@dataclass(frozen=True)
class Settings:
    """What every process needs. threads: to compute with; decoders: threads that decode, and processes; key: empty for
    none; local: whether only this machine is to be answered, by any name that it has for itself; eager: whether the
    decoding processes are started at once."""

    folder: Path
    device: str
    engine: str
    threads: int
    decoders: int
    limits: Limits
    key: str
    local: bool = False
    eager: bool = False
    preloaded: ClassVar[tuple[str, ...]] = HEAVY  # modules that all workers need

    def require(self) -> None:
        """Raises BundleError for a folder that holds no bundle."""
        bundle.read_card(self.folder)

    def service(self) -> "Service | GenerationService":
        """What answers in this process. Raises SkipwayError for what cannot be served."""
        import torch

        torch.set_num_threads(self.threads)
        return service_for(self)


def tell(line: str) -> None:
    """What there is to say goes to standard error; a full disk or a closed pipe there is no reason to end."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def require_extra(distribution: str = "skipway") -> None:
    """Raise SkipwayError unless everything that a server needs is installed; `distribution` has it as an extra."""
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            install = f"pip install '{distribution}[serve]'"
            raise SkipwayError(f"the server needs {name}, which is missing: {install}") from None


def listener(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port`, not yet listening. Raises SkipwayError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as fault:
        raise SkipwayError(f"--host {host} is no address of this machine ({fault.strerror}): try 127.0.0.1") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as fault:
        bound.close()
        raise SkipwayError(
            f"{host}:{port} cannot be served ({fault.strerror}): choose another --port or --host"
        ) from None
    bound.set_inheritable(True)
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL that a browser on this machine opens: of every address of the machine, the loopback one."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def generates(folder: Path) -> bool:
    """Whether the bundle in `folder` is a generator. Raises BundleError."""
    from skipway.trained import task_of

    return task_of(bundle.read_card(folder)).generates


def service_for(settings: Settings) -> "Service | GenerationService":
    """What answers with the network of the settings. Raises SkipwayError for a bundle that cannot be served."""
    from skipway.deploy.generate.generator import Generator
    from skipway.deploy.serve.backend import BundleBackend
    from skipway.deploy.serve.generation import GenerationService
    from skipway.deploy.serve.metrics import Metrics
    from skipway.deploy.serve.service import Service
    from skipway.hardware import decide

    hardware = decide(settings.device)
    if generates(settings.folder):
        generator = Generator(settings.folder, hardware, settings.engine, tell)
        return GenerationService(generator, settings.limits, Metrics())
    answerer = BundleBackend(settings.folder, hardware, settings.engine, tell)
    return Service(answerer, settings.limits, Metrics(), settings.decoders, settings.eager)


def configuration(settings: Settings) -> "Config":
    """uvicorn's, with the network loaded. Raises SkipwayError for a bundle that cannot be served."""
    import uvicorn

    from skipway.deploy.serve.app import create_app
    from skipway.deploy.serve.http_timeouts import ACCEPTS, protocol_of

    limits = settings.limits
    return uvicorn.Config(
        create_app(settings.service(), settings.key, settings.local),
        http=protocol_of(limits),
        ws="none",
        lifespan="on",
        backlog=ACCEPTS,  # which asyncio also takes for what it accepts at once
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, int(limits.grace * 0.9 - 2 * SPARE)),
    )


def end_after(seconds: float) -> None:
    """End this process after `seconds`, whatever its threads do by then, unless it has ended."""

    def give_up() -> None:
        tell("skipway: what was still at work when the grace was over was given up")
        os._exit(GIVEN_UP)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


def server(config: "Config", grace: float = Limits.grace) -> "Server":
    """uvicorn's, which before it ends also takes in those who have connected and were not yet accepted, and whose
    process has ended `grace` seconds after a signal to end."""
    import uvicorn

    class Thorough(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for listening in sockets or []:
                listening.listen(BACKLOG)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if not self.should_exit:
                end_after(max(grace - SPARE, grace / 2))
            super().handle_exit(sig, frame)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self.config.http_protocol_class.ending = True  # type: ignore[attr-defined]
            loop = asyncio.get_running_loop()
            for listening in sockets or []:
                with suppress(NotImplementedError):  # Windows' loop, which accepts without being told of readiness
                    loop.remove_reader(listening.fileno())
            await asyncio.sleep(0)  # those just accepted get their transport, which a closed server would not give
            for listening in sockets or []:
                with suppress(OSError):  # nobody is left, or another process was quicker
                    while True:
                        accepted, _ = listening.accept()
                        accepted.setblocking(False)
                        await loop.connect_accepted_socket(self.protocol, accepted)
            await super().shutdown(sockets)

        def protocol(self) -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

    return Thorough(config)


def end_well() -> None:
    """After uvicorn has ended on a signal it sends itself the same again: the process then ends with code 0."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def work(settings: Settings, bound: socket.socket, began: Callable[[], None]) -> None:
    """One process's life: load, listen, answer, and end on SIGTERM or SIGINT."""
    running = server(configuration(settings), settings.limits.grace)
    bound.listen(BACKLOG)
    began()
    end_well()
    running.run([bound])


def worker(settings: Settings, bound: socket.socket) -> None:
    """`work` in a process of its own, which ends with its parent; with FAILED for what cannot be served."""
    from skipway.deploy.serve.metrics import SHARED
    from skipway.deploy.serve.supervisor import FAILED, NO_SPACE, require_space

    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    try:
        require_space(os.environ[SHARED])
    except OSError:
        sys.exit(NO_SPACE)
    try:
        work(settings, bound, lambda: None)
    except SkipwayError as fault:
        tell(f"skipway: {fault}")
        sys.exit(FAILED)


def serve_with_workers(settings: Settings, bound: socket.socket, count: int) -> None:
    """`count` workers on one socket until SIGTERM or SIGINT; one that dies is replaced.

    Where the system can fork, they are copies of a process that has imported everything and computed nothing.
    Raises SkipwayError when a worker cannot begin, or too many died.
    """
    from skipway.deploy.serve.metrics import SHARED
    from skipway.deploy.serve.supervisor import supervise

    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver") if forks else multiprocessing.get_context("spawn")
    context.set_forkserver_preload(list(settings.preloaded))

    def start() -> BaseProcess:
        process = context.Process(target=worker, args=(settings, bound))
        process.start()
        return process

    supervise(start, count, bound, os.environ[SHARED], settings.limits.grace, tell)


def serve(settings: Settings, host: str, port: int, workers: int, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `say` is handed the address when it is bound.

    With several workers each has its own network and limits, and the settings' threads are divided among them.
    Raises SkipwayError: extra missing, port taken, bundle refused.
    """
    require_extra()
    settings.require()
    with listener(host, port) as bound:
        if workers == 1:
            work(settings, bound, lambda: say(address_of(bound)))
            return
        threads, decoders = (max(1, count // workers) for count in (settings.threads, settings.decoders))
        settings = replace(settings, threads=threads, decoders=decoders)
        if settings.engine == "auto":
            configuration(settings)  # measures once for all, before they would disturb each other
        with tempfile.TemporaryDirectory() as counts:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
            say(address_of(bound))
            serve_with_workers(settings, bound, workers)
