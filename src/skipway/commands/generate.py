"""Images from a trained generator: `skipway generate`."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skipway import bundle
from skipway.commands.arguments import Folder, ensure_folder, resolve_hardware
from skipway.deploy.generate import pictures
from skipway.deploy.generate.animation import FORMATS, animation, require_animation
from skipway.deploy.generate.generator import AfterStep, Generator, ImagePath
from skipway.deploy.generate.request import NO_CLASS, GeneratedImage, GenerationRequest, guidance_for
from skipway.errors import refuse_if
from skipway.hardware import Hardware
from skipway.new_files import require_free
from skipway.tasks.generate.sampler import SamplingOptions

MANY = 64  # images by default, for a grid
MOST_ANIMATED = 256  # images in an animation of paths
FRAMES = 25
UNSAFE = '/\\:*?"<>|'  # characters of class names that file systems refuse; so do they a leading point
Written = tuple[GeneratedImage, Path]


def generate(
    run: Folder,
    classes: str | Sequence[str] = (),
    n: int = 1,
    seed: int = 0,
    first: int = 0,
    guidance: float | None = None,
    interval: tuple[float, float] = (0.0, 1.0),
    steps: int = 18,
    solver: str = "heun",
    grid: str = "uniform",
    out: Folder | None = None,
    engine: str = "eager",
    hardware: Hardware | None = None,
) -> list[GeneratedImage]:
    """The images `first` to `first + n - 1` of `seed` from the generator `run`: `skipway.generate("runs/mnist", "7",
    n=64, out="sevens.png")`. An image depends on its number, its class and the settings alone.

    classes: taken in turn, "none" for no class; empty for every class in turn. guidance: how clearly images show their
    class, at the cost of variety, in the `interval` of times alone; 1: as in the training data; None: 1.5, or 1 without
    classes (Ho 2022, arXiv:2207.12598). steps, solver, grid: of the path from noise to image. out: a .png for a grid, a
    .gif or .webp for an animation of the paths, or a folder for a PNG an image; None: nothing is written. engine: as of
    `Generator`.

    Whoever generates more than once makes a `Generator`, which loads the network once, and which also interpolates,
    fills in parts of images and removes noise. Raises SkipwayError, before anything is written.
    """
    generator = Generator(run, resolve_hardware(hardware), engine)
    options = SamplingOptions(steps, solver, guidance_for(generator.classes, guidance), interval, grid)
    request = GenerationRequest((classes,) if isinstance(classes, str) else tuple(classes), n, seed, first, options)
    if out is None:
        return list(generator.generate(request))
    return [image for image, _ in written(generator, Subject(request), Destination.at(os.fspath(out)))]


def count_for(generator: Generator, classes: Sequence[str], between: int = 0, given: bool = False) -> int:
    """Images by default: about MANY, of each class equally many; two ends of an interpolation; one of a given image."""
    if between or given:
        return 2 if between else 1
    asked = len(classes or generator.classes) or 1
    return asked * max(1, round(MANY / asked))


# ---------------------------------------------------------------------------------------------------------------------
# What is generated


@dataclass(frozen=True)
class Subject:
    """Images of `request`, drawn from noise, or with `between` more between each two; or from the images `given`: as
    they come back from their noise, with `between` more; filled in where `mask` is white; without noise of
    `noise_level` 8-bit levels. Raises SkipwayError for what excludes each other."""

    request: GenerationRequest
    between: int = 0
    given: tuple[str, ...] = ()
    mask: Path | None = None
    noise_level: float | None = None

    def __post_init__(self) -> None:
        for value, option in ((self.mask, "--mask"), (self.noise_level, "--noise-level")):
            refuse_if(value is not None and not self.given, f"{option} is for a given image", "add --from IMAGE")
            refuse_if(value is not None and self.between, f"--interpolate excludes {option}", "leave one out")
        both = self.mask is not None and self.noise_level is not None
        refuse_if(both, "--mask excludes --noise-level", "leave one out")
        refuse_if(self.between < 0, f"--interpolate {self.between}", "give 1 or more")
        ends = len(self.given) or self.request.n
        refuse_if(self.between and ends < 2, "--interpolate is between two images", "give --n 2 or more")
        several = self.mask is not None and len(self.given) > 1
        refuse_if(several, f"{len(self.given)} images for one --mask", "give one --from")

    @property
    def is_drawn(self) -> bool:
        """Whether each image has a path of its own from noise."""
        return not self.between and not self.given

    @property
    def count(self) -> int:
        """How many images there will be."""
        ends = len(self.given) if self.given and self.mask is None else self.request.n
        return ends + (ends - 1) * self.between

    def numbered(self, known: Sequence[str]) -> Iterator[tuple[str | None, int]]:
        """Class and number of each image; `known` are the generator's classes. Raises SkipwayError."""
        if self.is_drawn or (self.mask is not None and self.request.classes):
            names = self.request.classes_in_turn(known)
        else:
            names = (self.request.one_class(known),)
        own = self.is_drawn or self.mask is not None
        return ((names[i % len(names)], i) for i in (self.request.indices if own else range(self.count)))

    def images(self, generator: Generator, after_step: AfterStep | None) -> Iterator[GeneratedImage]:
        """The images, as they get ready. Raises SkipwayError, before the first."""
        if self.mask is not None:
            return generator.inpaint(self.given[0], self.mask, self.request, after_step)
        if self.noise_level is not None:
            return iter(generator.denoise(self.given, self.noise_level, self.request))
        if self.given:
            return generator.interpolate_images(self.given, self.request, self.between, after_step)
        if self.between:
            return generator.interpolate(self.request, self.between, after_step)
        return generator.generate(self.request, after_step)


# ---------------------------------------------------------------------------------------------------------------------
# Where it is written


@dataclass(frozen=True)
class Destination:
    """A file of all images, a grid or an animation, or a folder of a PNG an image; class_folders: in a folder for each
    class there."""

    path: Path
    kind: Literal["grid", "animation", "folder"]
    class_folders: bool = False

    @classmethod
    def at(cls, out: str, class_folders: bool = False) -> "Destination":
        """As the ending of `out` says: .png, .gif or .webp for a file, any other a folder. Raises SkipwayError for
        endings of other images, and where a file or folder cannot be written."""
        path = Path(out)
        ending = "" if out.endswith(("/", os.sep)) or path.is_dir() else path.suffix.lower()
        refuse_if(
            ending in (".jpg", ".jpeg", ".bmp", ".tif", ".tiff"), f"--out {out}", "give .png, .gif, .webp, a folder"
        )
        kind: Literal["grid", "animation", "folder"] = (
            "grid" if ending == ".png" else "animation" if ending in FORMATS else "folder"
        )
        refuse_if(class_folders and kind != "folder", f"--class-folders with --out {out}", "give a folder for --out")
        if kind != "folder":
            require_free(path, "--out")
        return cls(path, kind, class_folders)

    @property
    def ending(self) -> str:
        """Of a file, in lower case."""
        return self.path.suffix.lower()

    def require_writable(self) -> None:
        """Makes the folder where it is missing. Raises SkipwayError where nothing can be written into it."""
        ensure_folder(self.path if self.kind == "folder" else self.path.parent)

    def file_of(self, label: str | None, index: int) -> Path:
        """The file of an image in a folder."""
        name = "".join("_" if letter in UNSAFE or not letter.isprintable() else letter for letter in label or NO_CLASS)
        name = f"_{name[1:]}" if name.startswith(".") else name
        return self.path / name / f"{index}.png" if self.class_folders else self.path / f"{name}-{index}.png"


def written(
    generator: Generator, subject: Subject, destination: Destination, after_step: AfterStep | None = None
) -> Iterator[Written]:
    """Each image, and the file that it is in; in a folder they are written one at a time, in a file when all are there.

    Raises SkipwayError, before anything is written, for a file that is there already and for what cannot be generated.
    """
    require_form(generator, subject, destination)
    if destination.kind == "animation" and subject.is_drawn:
        paths = generator.trajectory(subject.request, FRAMES, after_step)
        destination.require_writable()
        return animated_paths(list(paths), destination.path)
    images = subject.images(generator, after_step)
    destination.require_writable()
    if destination.kind == "folder":
        return in_folder(images, destination)
    shown = list(images)
    if destination.kind == "animation":
        frames = [pictures.grid([image.pixels], [[0]]) for image in shown]
        return in_one_file(shown, animation(frames, pictures.grid_text(shown), destination.ending), destination.path)
    rows = pictures.interpolation_rows(len(shown), subject.between) if subject.between else None
    return in_one_file(shown, pictures.grid_png(shown, rows), destination.path)


def require_form(generator: Generator, subject: Subject, destination: Destination) -> None:
    """Raises SkipwayError where the images cannot be written in the form of `destination`."""
    channels = generator.preprocessing.channels
    pictures.require_channels(channels)
    if destination.kind == "grid":
        pictures.require_few(subject.count)
    elif destination.kind == "animation":
        require_animation(destination.path, channels)
        still = bool(subject.given) and not subject.between
        refuse_if(still, f"{destination.path}: what is made of an image is no animation", "give .png or a folder")
        many = subject.count > MOST_ANIMATED
        advice = f"give at most {MOST_ANIMATED}, as with --n"
        refuse_if(many, f"{subject.count:,} images are too many for an animation", advice)
    else:
        classless = destination.class_folders and not generator.classes
        refuse_if(classless, "--class-folders: this generator has no classes", "leave it out")
        require_new_files(subject.numbered(generator.classes), destination)


def require_new_files(numbered: Iterator[tuple[str | None, int]], destination: Destination) -> None:
    """Raises SkipwayError for an image whose file is there already, or is another class's too."""
    named: dict[Path, str | None] = {}
    for label, index in numbered:
        file, first = destination.file_of(label, index), destination.file_of(label, 0)
        refuse_if(file.exists(), f"{file} exists", "choose another --out or --first")
        other = named.setdefault(first, label)
        refuse_if(other != label, f"classes '{other}' and '{label}' have one file name", "give --out FILE.png")


def animated_paths(paths: Sequence[ImagePath], file: Path) -> Iterator[Written]:
    """The images after the animation of their paths was written: the grid of the noisy images at each time."""
    images = [path.image for path in paths]
    rows = pictures.grid_rows([image.label for image in images])
    frames = [pictures.grid(step, rows) for step in zip(*(path.noisy for path in paths), strict=True)]
    return in_one_file(images, animation(frames, pictures.grid_text(images), file.suffix.lower()), file)


def in_folder(images: Iterator[GeneratedImage], destination: Destination) -> Iterator[Written]:
    """Each image after it was written."""
    for image in images:
        file = destination.file_of(image.label, image.index)
        file.parent.mkdir(exist_ok=True)
        bundle.write_atomically(file, pictures.image_png(image))
        yield image, file


def in_one_file(images: Sequence[GeneratedImage], content: bytes, file: Path) -> Iterator[Written]:
    """The images after `content`, which shows them all, was written to `file`."""
    bundle.write_atomically(file, content)
    return ((image, file) for image in images)
