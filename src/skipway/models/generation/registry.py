"""Every image generator by name: `create_generator(name, ...)` builds one, `list_generators(pattern)` lists them."""

from skipway.errors import SkipwayError, UnknownNameError, matching
from skipway.models.generation.unet import GENERATORS, VelocityUNet


def require_generator(name: str) -> None:
    """Raises UnknownNameError, with the closest name, if there is no such generator."""
    if not is_generator(name):
        raise UnknownNameError("generator", name, GENERATORS, f"one of {', '.join(GENERATORS)}")


def list_generators(pattern: str = "*") -> list[str]:
    """The names that match a shell `pattern` or contain it, by size."""
    return matching(GENERATORS, pattern)


def is_generator(name: str) -> bool:
    """Whether a generator called `name` exists."""
    return name in GENERATORS


def create_generator(name: str, classes: int, channels: int = 3, dropout: float = 0.0) -> VelocityUNet:
    """The generator called `name`, initialised using the global random state, for images of `channels` channels.

    With 0 `classes` it is unconditional; otherwise the label `classes` is the null class. `dropout` is the probability
    of dropping a value in a residual unit. Raises UnknownNameError, with the closest name, and SkipwayError for a
    number out of range.
    """
    require_generator(name)
    if classes < 0:
        raise SkipwayError(f"{name} with {classes} classes: at least 0 are needed, which is a network without classes")
    if channels < 1:
        raise SkipwayError(f"{name} with {channels} image channels: at least 1 is needed")
    if not 0 <= dropout < 1:
        raise SkipwayError(f"{name} with dropout {dropout}: it must be at least 0 and less than 1")
    return GENERATORS[name](classes=classes, channels=channels, dropout=dropout)
