"""What images a generator is asked for, and the images that it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from skipway.errors import UnknownNameError, refuse_if
from skipway.tasks.generate.sampler import SamplingOptions

NO_CLASS = "none"  # asks for the null class, and stands for it in files
MOST = 1_000_000  # images of a request: as many as the largest data sets that classifiers are trained on
LAST = 2**63  # seeds and images are numbered below it
FOR_LOOKING = 1.5  # guidance by default where there are classes
GENERATED = "image synthesised by a neural network"  # the mark of a generated image


def guidance_for(classes: Sequence[str], given: float | None) -> float:
    """The guidance of a generator of `classes` where `given` is None."""
    return given if given is not None else FOR_LOOKING if classes else 1.0


@dataclass(frozen=True)
class GenerationRequest:
    """The images `first` to `first + n - 1` of `seed`; each depends on its number, its class and `options` alone.

    classes: names of the generator's classes, taken in turn by the images' numbers; "none" is the null class, an image
    without a class; empty for every class in turn. Raises SkipwayError for a number that is out of range.
    """

    classes: tuple[str, ...] = ()
    n: int = 1
    seed: int = 0
    first: int = 0
    options: SamplingOptions = field(default_factory=SamplingOptions)

    def __post_init__(self) -> None:
        refuse_if(self.n < 1, f"n is {self.n}", "ask for at least 1 image")
        refuse_if(self.n > MOST, f"n is {self.n:,}", f"ask for at most {MOST:,} images at a time")
        refuse_if(not 0 <= self.seed < LAST, f"the seed is {self.seed}", "give one from 0 to 2^63 - 1")
        refuse_if(not 0 <= self.first <= LAST - self.n, f"the first image is {self.first}", "give one from 0 on")

    @property
    def indices(self) -> range:
        """The numbers of the images."""
        return range(self.first, self.first + self.n)

    def classes_in_turn(self, known: Sequence[str]) -> tuple[str | None, ...]:
        """The classes that the images take in turn, None for the null class; `known` are the generator's.

        Raises UnknownNameError, with the nearest name, for a class that is not among them, and SkipwayError for a class
        where there are none.
        """
        wanted = [name for name in self.classes if name != NO_CLASS or name in known]
        for name in wanted:
            refuse_if(not known, f"class '{name}': this generator was trained without classes", "leave the class out")
            if name not in known:
                some = ", ".join(known[:5]) + (" ..." if len(known) > 5 else "")
                raise UnknownNameError("class", name, known, f"the generator knows {some}")
        if not known:
            return (None,)
        return tuple(name if name in known else None for name in self.classes) or tuple(known)

    def one_class(self, known: Sequence[str]) -> str | None:
        """The class of all images where they can only have one: no class if none is given. Raises as
        `classes_in_turn`, and for several."""
        refuse_if(len(self.classes) > 1, f"{len(self.classes)} classes, where images are of one", "give one or none")
        [name] = self.classes_in_turn(known) if self.classes else [None]
        return name


@dataclass(frozen=True, eq=False)
class GeneratedImage:
    """An image, its number, and the name of its class, None for no class.

    pixels: uint8 (H, W, C), exactly as they are saved; settings: by name, what it can be generated with again besides
    its number and class.
    """

    index: int
    label: str | None
    pixels: np.ndarray
    settings: Mapping[str, str]

    def text(self) -> dict[str, str]:
        """The text that is stored in a file of the image, by keyword."""
        return {**self.settings, "index": str(self.index), "class": self.label or NO_CLASS}

    def _repr_html_(self) -> str:
        """For notebooks: the image, its number and its class."""
        from skipway.reporting import notebook

        return notebook.picture(self.pixels, f"image {self.index}, class {self.label or NO_CLASS}")


def settings_of(weights: str, seed: int | None, options: SamplingOptions | None) -> dict[str, str]:
    """The settings of images for `GeneratedImage`. weights: the SHA-256 of the network's; seed, options: None where no
    noise was drawn, and where no path was followed."""
    settings = {"Software": f"skipway {version('skipway')}", "weights": weights, "generated": GENERATED}
    if seed is not None:
        settings["seed"] = str(seed)
    if options is not None:
        low, high = options.interval
        settings |= {
            "guidance": f"{options.guidance:g}",
            "interval": f"{low:g},{high:g}",
            "steps": str(options.steps),
            "solver": options.solver,
            "grid": options.grid,
        }
    return settings
