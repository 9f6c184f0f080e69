"""`skipway serve`: a trained network over HTTP, with a web page."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, console, decide
from skipway.deploy.serve.access import KEY_VARIABLE, LOOPBACK, key_in_shell, lines_about, read_key
from skipway.deploy.serve.limits import Limits

KeyFileOption = Annotated[
    Path | None, typer.Option(help=f"File whose first line requests must carry; else ${KEY_VARIABLE}, if set.")
]
HostOption = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one of this machine.")]
BatchOption = Annotated[int | None, typer.Option(min=1, help="Images computed together; default the engine's.")]
WaitOption = Annotated[
    float | None, typer.Option(min=0, help="How long a batch waits for images on their way; default what one takes.")
]
LatencyOption = Annotated[float, typer.Option(min=1, help="Requests that would take longer are refused with 429.")]
ImagesOption = Annotated[int | None, typer.Option(min=1, help="Images in one request; default 16, of a generator 64.")]
EvaluationsOption = Annotated[
    int, typer.Option(min=1, help="Evaluations of a generator's network, for all images of one request.")
]
SecondsOption = Annotated[
    float, typer.Option(min=1, help="For a generator's turn to come, and for the images of one request.")
]
GraceOption = Annotated[float, typer.Option(min=1, help="Seconds from SIGTERM or Ctrl-C to the end, at most.")]
EngineOption = Annotated[str, typer.Option(help="eager (evaluation's digits), auto (fastest that agrees), or a name.")]


def print_address(run: Path, host: str, key: str, generates: bool, address: str) -> None:
    """Say where the bundle is served and how it is asked; `key` as in the shell."""
    for line in lines_about(run, address, host, key, generates):
        console().print(line, soft_wrap=True, markup=False)


def serve(
    run: Annotated[Path, typer.Argument(help="Folder of a trained network, or hf:owner/name[@revision].")],
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own network.")] = 1,
    api_key_file: KeyFileOption = None,
    max_batch: BatchOption = None,
    max_wait_ms: WaitOption = None,
    max_latency_ms: LatencyOption = 2000,
    queue: Annotated[int, typer.Option(min=1, help="Images accepted and not yet answered, at most.")] = 256,
    max_images: ImagesOption = None,
    max_evaluations: EvaluationsOption = 10_000,
    max_seconds: SecondsOption = 120,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Megabytes (10^6) of one request's body.")] = 20,
    max_megapixels: Annotated[float, typer.Option(min=0.000001, help="Of one image.")] = 40,
    max_frames: Annotated[int, typer.Option(min=1, help="Of one animated image, whose first is taken.")] = 500,
    body_timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for a request's body to arrive.")] = 30,
    grace: GraceOption = Limits.grace,
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
) -> None:
    """Serve a trained network: a web page at /, the API at /docs, predictions at POST /v1/predict or, of a generator,
    images at POST /v1/generate.

    Listens to this machine alone unless --host says otherwise. Nothing is fetched from anywhere. SIGTERM and Ctrl-C
    end it once everything accepted is answered, or --grace is over.
    """
    from skipway.bundle.hub import local_folder
    from skipway.deploy.serve.server import Settings, generates
    from skipway.deploy.serve.server import serve as run_server

    key = read_key(api_key_file)
    limits = Limits(
        body_bytes=round(max_mb * 1e6),
        held_bytes=max(Limits.held_bytes, 2 * round(max_mb * 1e6)),
        images=max_images or Limits.images,
        pixels=round(max_megapixels * 1e6),
        frames=max_frames,
        body_seconds=body_timeout,
        grace=grace,
        latency=max_latency_ms / 1000,
        queue=queue,
        batch=max_batch,
        patience=None if max_wait_ms is None else max_wait_ms / 1000,
        generated=max_images or Limits.generated,
        evaluations=max_evaluations,
        generation_seconds=max_seconds,
    )
    machine = decide(device)
    local = host in LOOPBACK and not key
    folder = local_folder(run)
    settings = Settings(folder, device, engine, machine.threads, machine.workers, limits, key, local, eager=True)
    shown = key_in_shell(api_key_file, key)
    run_server(
        settings, host, port, workers, lambda address: print_address(run, host, shown, generates(folder), address)
    )
