"""`skipway generate`: images from a trained generator."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, console, decide, print_json, print_message
from skipway.errors import SkipwayError, refuse_if

ClassOption = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="NAME", help="In turn, if several; none: no class; default every class in turn."),
]
CountOption = Annotated[int | None, typer.Option("--n", help="Images; default about 64, of each class equally many.")]
GuidanceOption = Annotated[
    float | None, typer.Option(help="How clearly the class shows; 1: as in the data; default 1.5 with classes.")
]
OutOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="A grid as .png, the way from noise as .gif or .webp, or a folder for a PNG an image; default "
        "<run>-<seed>.png.",
    ),
]
FromOption = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="IMAGE", help="Start from the noise that the flow takes this image to; repeatable."),
]
MaskOption = Annotated[Path | None, typer.Option(help="With --from: fill in where this image of its size is white.")]
NoiseOption = Annotated[
    float | None, typer.Option(help="With --from: remove noise of this standard deviation, in levels of 255.")
]
EngineOption = Annotated[str, typer.Option(help="eager (the same images each time), auto (the fastest), or a name.")]


def generate(
    run: Annotated[str, typer.Argument(help="Folder of a trained generator, or hf:owner/name[@revision].")],
    label: ClassOption = None,
    n: CountOption = None,
    seed: Annotated[int, typer.Option(help="Other images for each.")] = 0,
    first: Annotated[int, typer.Option(help="Number of the first image; an image is the same in any --n.")] = 0,
    guidance: GuidanceOption = None,
    interval: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Times, 0 to 1, in which it applies.")] = "0,1",
    steps: Annotated[int, typer.Option(help="Steps from noise to image.")] = 18,
    solver: Annotated[str, typer.Option(help="heun, midpoint, euler.")] = "heun",
    grid: Annotated[str, typer.Option(help="Spacing of the steps: uniform, rho7.")] = "uniform",
    out: OutOption = None,
    class_folders: Annotated[
        bool, typer.Option("--class-folders", help="A folder for each class, as a data set to train on.")
    ] = False,
    interpolate: Annotated[int, typer.Option(metavar="K", help="K more images between each two, of one class.")] = 0,
    given: FromOption = None,
    mask: MaskOption = None,
    noise_level: NoiseOption = None,
    engine: EngineOption = "eager",
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Generate images.

    Examples: skipway generate RUN | skipway generate RUN --class 7 --n 64 --seed 3 --guidance 2 --out grid.png |
    skipway generate RUN --n 60000 --guidance 1 --class-folders --out samples/ | skipway generate RUN --out way.gif

    Every file says in its text how it was made. An image depends on --seed, its number, its class and the settings
    alone.
    """
    from skipway.commands.generate import Destination, Subject, count_for, written
    from skipway.deploy.generate.generator import Generator
    from skipway.deploy.generate.request import GenerationRequest, guidance_for
    from skipway.tasks.generate.sampler import SamplingOptions

    times, images = interval_of(interval), tuple(given or ())
    counted = n is not None and images and mask is None
    refuse_if(counted, "--n is not for given images", "leave it out")
    destination = Destination.at(out or f"{Path(run).resolve().name}-{seed}.png", class_folders)
    SamplingOptions(steps, solver, 1.0, times, grid)  # refuses wrong settings before the network is loaded
    generator = Generator(run, decide(device), engine, print_message)
    options = SamplingOptions(steps, solver, guidance_for(generator.classes, guidance), times, grid)
    names = tuple(label or ())
    count = count_for(generator, names, interpolate, bool(images)) if n is None else n
    subject = Subject(GenerationRequest(names, count, seed, first, options), interpolate, images, mask, noise_level)
    total = 0
    with progress() as after_step:
        for image, file in written(generator, subject, destination, after_step):
            total += 1
            if as_json:
                print_json({"file": str(file), "index": image.index, "class": image.label})
    if not as_json:
        many = "1 image" if total == 1 else f"{total:,} images"
        console().print(f"{many}: {destination.path}", soft_wrap=True, markup=False)


def interval_of(text: str) -> tuple[float, float]:
    """Two times. Raises SkipwayError for anything else."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise SkipwayError(f"--interval {text}: give two times from 0 to 1, such as 0.2,0.8") from None
    return low, high


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where a person watches; the function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    stream = console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("network evaluations"), TimeRemainingColumn())
    # what is printed goes to standard output by itself: rich would move it to the bar's stream
    watched = Progress(
        *columns,
        console=stream,
        transient=True,
        disable=not stream.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with watched as bar:
        task = bar.add_task("generate", total=None)

        def move(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        yield move
