"""Pretrained weights by name, from the hub, or from a file of one's own.

Foreign `.pth` and `.th` files are read with `weights_only`, which executes nothing that they hold.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from skipway.download import digest
from skipway.errors import SkipwayError, UnknownNameError, first_line
from skipway.models.catalogue import WEIGHTS, Weights, by_digest
from skipway.models.contract import Network
from skipway.models.fitting import adapt_first, load_all_but_head
from skipway.models.hub import fetch_named, fetch_place, parse
from skipway.models.translate import translated


@dataclass(frozen=True)
class Pretrained:
    """Weights in our names; `record` says more of them where they have a name; `translation` is what was turned."""

    weights: dict[str, Tensor]
    file: Path
    record: Weights | None = None
    translation: str = ""

    def stem(self) -> str | None:
        """The stem that the weights were trained with; None when their names do not tell."""
        if "conv1.0.weight" in self.weights:  # three convolutions, which only large images get
            return "imagenet"
        first = self.weights.get("conv1.weight", self.weights.get("features.conv0.weight"))
        return None if first is None else {7: "imagenet", 3: "small"}.get(first.shape[-1])

    def classes(self, net: Network) -> int | None:
        """How many classes the weights' main classifier has; None when they have none of `net`'s."""
        head = self.weights.get(f"{net.heads[0]}.weight")
        return None if head is None else head.shape[0]


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors, .pth, .pt or .th file; wrappings of trainers are taken off."""
    try:
        if file.suffix == ".safetensors":
            found: Any = load_file(file)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on the form of a pickle: what cannot be read is refused below
                found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as fault:  # a damaged pickle can raise anything, and a file from outside may be damaged
        raise SkipwayError(f"{file} is not a file of weights that can be read safely: {first_line(fault)}") from None
    for wrapping in ("state_dict", "model"):
        found = found.get(wrapping, found) if isinstance(found, dict) else {}
    named = found.items() if isinstance(found, dict) else ()
    tensors = {without_prefixes(k): v for k, v in named if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise SkipwayError(f"{file} holds no tensors by name: give a state dict")
    return tensors


def without_prefixes(key: str) -> str:
    """A tensor's name without what parallel trainers and the compiler put before it."""
    for prefix in ("module.", "_orig_mod.", "module."):
        key = key.removeprefix(prefix)
    return key


def require_net(record: Weights | None, model: str | None, text: str) -> None:
    """Raises SkipwayError when `text` means weights that are known to be of another network than `model`.

    Shapes do not tell: `plain20` has those of `resnet20`, and `resnet50_v1` those of `resnet50`.
    """
    if record and model and record.net != model:
        raise SkipwayError(f"{text} are weights of {record.net}, not of {model}: choose {record.net} as the model")


def refusal(model: str | None, text: str) -> SkipwayError:
    """What to say of a `text` that means no weights."""
    tags = {name.split(".", 1)[1] for name in WEIGHTS}
    if model and text in tags:
        return SkipwayError(
            f"there are no {text} weights of {model}: `skipway weights list {model}` names what there is"
        )
    if "/" in text or Path(text).suffix in (".safetensors", ".pth", ".pt", ".th"):
        return SkipwayError(f"{text} does not exist: give a file or bundle, or hf:owner/repository for one on the hub")
    known = [*WEIGHTS, *(tags if model else ())]
    return UnknownNameError(
        "weights", text, known, "`skipway weights list` names all; or give a file, or hf:owner/name"
    )


def locate(model: str | None, text: str) -> tuple[Path, Weights | None]:
    """The file that `text` means, downloaded and checked if need be, and what is known of it.

    `text` is a name of WEIGHTS, the tag of one for `model`, hf:owner/repository[@revision][/file], a file, or a
    bundle's folder. Raises SkipwayError in one line.
    """
    path = Path(text)
    if path.is_dir() and (path / "weights.safetensors").is_file():
        path /= "weights.safetensors"
    if path.is_file():
        record = by_digest(digest(path, "sha256"))
        require_net(record, model, text)
        return path, record
    if text.startswith("hf:"):
        place = parse(text)
        whole = f"hf:{place.repository}/{place.file}"
        record = next((w for w in WEIGHTS.values() if w.url == whole and place.revision is None), None)
        require_net(record, model, text)
        return fetch_place(place), record
    record = WEIGHTS.get(text) or WEIGHTS.get(f"{model}.{text}")
    if record is None:
        raise refusal(model, text)
    require_net(record, model, text)
    return fetch_named(record), record


def find(model: str | None, text: str) -> Pretrained:
    """The weights that `text` means (see `locate`) for `model`, in our names."""
    file, record = locate(model, text)
    weights, translation = translated(read_file(file))
    return Pretrained(weights, file, record, translation)


def load(net: Network, pretrained: Pretrained, name: str) -> list[str]:
    """Load `pretrained` into `net`, called `name`; returns what people should know of how, a phrase each.

    The first convolution is made for the images' channels, and a classifier of other classes stays fresh. Raises
    MismatchError for weights of another network.
    """
    said = [pretrained.translation] if pretrained.translation else []
    weights = adapt_first(pretrained.weights, net)
    if weights is not pretrained.weights:
        said.append("the first convolution is made for the images' channels")
    if load_all_but_head(net, weights, name):
        said.append("the classifier starts fresh")
    return said
