"""Pretrained weights by name, from the hub, in the package, or from a file of one's own.

Foreign `.pth` and `.th` files are read with `weights_only`, which executes nothing that they hold.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skipway import models
from skipway.download import digest, reachable
from skipway.errors import SkipwayError, UnknownNameError
from skipway.models import hub
from skipway.models.catalogue import WEIGHTS, Weights, by_digest
from skipway.models.contract import Network, classes_of
from skipway.models.embedded_weights import EMBEDDED, NAME, NETWORK
from skipway.models.fitting import adapt_first, first_names, head_fits, load_all_but_head
from skipway.models.prefixes import Match, Shapes, best_match, match
from skipway.models.state_dicts import StateDict, rank, read_state_dicts

SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".ckpt")


@dataclass(frozen=True)
class Pretrained:
    """Weights in our names; `record` says more of them where they have a name; `translation` is what was turned.

    read: what people should know of how the file was read, a phrase each; unused: tensors of its state dict that are
    not in `weights`, by the file's names.
    """

    weights: dict[str, Tensor]
    file: Path
    record: Weights | None = None
    translation: str = ""
    read: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

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

    def said(self) -> list[str]:
        """What was done to the file's tensors, a phrase each."""
        return [*self.read, *([self.translation] if self.translation else [])]


def require_net(record: Weights | None, model: str | None, text: str) -> None:
    """Raises SkipwayError when `text` means weights that are known to be of another network than `model`.

    Shapes do not tell: `plain20` has those of `resnet20`, and `resnet50_v1` those of `resnet50`.
    """
    if record and model and record.net != model:
        raise SkipwayError(f"{text} are weights of {record.net}, not of {model}: choose {record.net} as the model")


def refusal(model: str | None, text: str) -> SkipwayError:
    """What to say of a `text` that means no weights."""
    if text in (EMBEDDED, NAME):
        return SkipwayError(
            "this installation has no embedded weights: choose others, which `skipway weights list` names"
        )
    tags = {name.split(".", 1)[1] for name in WEIGHTS}
    if model and text in tags:
        return SkipwayError(
            f"there are no {text} weights of {model}: `skipway weights list {model}` names what there is"
        )
    if "/" in text or Path(text).suffix in SUFFIXES:
        return SkipwayError(f"{text} does not exist: give a file or bundle, or hf:owner/repository for one on the hub")
    known = [*WEIGHTS, *(tags if model else ())]
    return UnknownNameError(
        "weights", text, known, "`skipway weights list` names all; or give a file, or hf:owner/name"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Where weights are


def on_disk(text: str) -> Path | None:
    """The file that `text` means, itself or as that of a bundle's folder; None when it is neither."""
    path = Path(text)
    path = path / "weights.safetensors" if path.is_dir() else path
    return path if path.is_file() else None


def known(model: str | None, text: str) -> Weights | None:
    """The named weights that `text` means: a name, the tag of one for `model`, "embedded", or hf:owner/repository."""
    if text == EMBEDDED:
        return WEIGHTS.get(NAME)
    if text.startswith("hf:"):
        place = hub.parse(text)
        whole = f"hf:{place.repository}/{place.file}"
        return next((w for w in WEIGHTS.values() if w.url == whole and place.revision is None), None)
    return WEIGHTS.get(text) or WEIGHTS.get(f"{model}.{text}")


def locate(model: str | None, text: str) -> tuple[Path, Weights | None]:
    """The file that `text` means, downloaded and checked if need be, and what is known of it.

    `text` is a name of WEIGHTS, the tag of one for `model`, "embedded", hf:owner/repository[@revision][/file], a file,
    or a bundle's folder. What is downloaded is said before. Raises SkipwayError in one line.
    """
    if file := on_disk(text):
        record = by_digest(digest(file, "sha256"))
        require_net(record, model, text)
        return file, record
    record = known(model, text)
    require_net(record, model, text)
    if record is not None:
        return hub.fetch_named(record), record
    if text.startswith("hf:"):
        return hub.fetch_place(hub.parse(text)), None
    raise refusal(model, text)


def network_of(text: str) -> str | None:
    """The network of the weights that `text` means (see `locate`); None where nothing tells it. Downloads nothing.

    Raises SkipwayError for a place on the hub that is written wrongly.
    """
    if file := on_disk(text):
        record = by_digest(digest(file, "sha256"))
        return record.net if record else network_in(file.with_name("card.json"))
    if text == EMBEDDED:
        return NETWORK
    if record := known(None, text):
        return record.net
    return timms_network(hub.parse(text).repository) if text.startswith("hf:") else None


def network_in(card: Path) -> str | None:
    """The network that a bundle's card names; None where there is no such card."""
    try:
        name = json.loads(card.read_bytes())["network"]["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) and name in models.NETWORKS else None


def timms_network(repository: str) -> str | None:
    """Our name of the network of a repository of timm's, which is called after its network and a tag."""
    owner, name = repository.split("/")
    net = name.split(".")[0].replace("resnetv2_", "preresnet")
    return net if owner == "timm" and net in models.NETWORKS else None


def is_cached(text: str, model: str | None = None) -> bool:
    """Whether the weights that `text` means (see `locate`) are on this machine. Asks no server."""
    if on_disk(text):
        return True
    if record := known(model, text):
        return hub.is_cached(record)
    return text.startswith("hf:") and hub.cached(hub.parse(text)) is not None


def at_hand(text: str, model: str | None = None) -> bool:
    """Whether the weights that `text` means are on this machine, or their host answers within three seconds."""
    if is_cached(text, model):
        return True
    record = known(model, text)
    return (record is not None or text.startswith("hf:")) and reachable(hub.host_of(record))


# ---------------------------------------------------------------------------------------------------------------------
# What weights hold


def shapes_of(model: str) -> Shapes:
    """The tensors of the network called `model`. Raises UnknownNameError."""
    with torch.device("meta"):
        net = models.build(model)
    return {key: value.shape for key, value in net.state_dict().items()}


def choose(found: list[StateDict], model: str | None) -> tuple[StateDict, Match]:
    """The state dict of a file that fits `model` best, in our names; of equals, or for no model, the first."""
    if model is None:
        return found[0], match(found[0].tensors, "", {})
    own = shapes_of(model)
    matched = [(state, best_match(state.tensors, own)) for state in found]
    return max(matched, key=lambda pair: (pair[1].fit, -rank(pair[0].entry)))


def reading(state: StateDict, found: Match) -> tuple[str, ...]:
    """How a file was read, a phrase each: which of its entries was taken, and what was taken off the names."""
    said = []
    if state.beside:
        others = ", ".join(f"{entry} ({number} tensors)" for entry, number in state.beside.items())
        taken = f"'{'.'.join(state.entry)}' of the file is used" if state.entry else "the file's own tensors are used"
        said.append(f"{taken}, and not {others}")
    if found.prefix:
        said.append(f"the prefix '{found.prefix}' is taken off")
    if found.wrapped:
        said.append("'module.' and '_orig_mod.' are taken off")
    return tuple(said)


def not_used(names: Iterable[str]) -> list[str]:
    """A phrase that counts tensors of a file that are not used, and names the first; none when all are."""
    names = list(names)
    tensors = "1 tensor of the file is" if len(names) == 1 else f"{len(names)} tensors of the file are"
    return [f"{tensors} not used ({first_names(names)})"] if names else []


def read_for(file: Path, model: str | None, record: Weights | None = None) -> Pretrained:
    """The weights in `file` for the network called `model` (None: not known), in our names. Raises SkipwayError."""
    state, found = choose(read_state_dicts(file), model)
    return Pretrained(found.tensors, file, record, found.translation, reading(state, found), found.unused)


def find(model: str | None, text: str) -> Pretrained:
    """The weights that `text` means (see `locate`) for `model`, in our names."""
    if model is not None:
        models.require_name(model)
    file, record = locate(model, text)
    return read_for(file, model or (record.net if record else None), record)


def load(net: Network, pretrained: Pretrained, name: str) -> list[str]:
    """Load `pretrained` into `net`, called `name`; returns what people should know of how, a phrase each.

    The first convolution is made for the images' channels, and a classifier that is of other classes or lacking stays
    fresh. What of the file is not used is said. Raises MismatchError for weights of another network.
    """
    said = pretrained.said()
    weights = adapt_first(pretrained.weights, net)
    if weights is not pretrained.weights:
        said.append("the first convolution is made for the images' channels")
    own = net.state_dict()
    left = load_all_but_head(net, weights, name)
    if not head_fits(net, weights, net.heads[0]):
        said.append(fresh_classifier(net, pretrained))
    return said + not_used([*pretrained.unused, *(key for key in left if key not in own)])


def fresh_classifier(net: Network, pretrained: Pretrained) -> str:
    """Why the classifier of `net` is not that of the file, in words."""
    theirs, ours = pretrained.classes(net), classes_of(net)
    if theirs is None:
        return f"the file has no classifier '{net.heads[0]}'; it starts fresh for {ours} classes"
    if theirs == ours:
        return f"the file's classifier '{net.heads[0]}' is of another shape and was left out; it starts fresh"
    return f"the classifier of {theirs} classes was left out; it starts fresh for {ours} classes"
