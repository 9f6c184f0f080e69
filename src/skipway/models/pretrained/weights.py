"""Find and load pretrained weights by name, from the hub, from the package, or from a file.

`.pth` and `.th` files are read with `weights_only`, which executes no code in them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from skipway.download import digest, reachable
from skipway.errors import SkipwayError, UnknownNameError
from skipway.hardware import ShapesOnly
from skipway.models import networks
from skipway.models.base import Network, classes_of
from skipway.models.dense_networks import BODY_OF, create_dense, is_dense
from skipway.models.detection.base import Detector
from skipway.models.pretrained import hub
from skipway.models.pretrained.convert import with_epsilon
from skipway.models.pretrained.embedded import EMBEDDED, NAME, NETWORK
from skipway.models.pretrained.prefixes import Match, Shapes, best_match, match
from skipway.models.pretrained.registry import EPSILON, WEIGHTS, Weights, all_weights, by_digest
from skipway.models.pretrained.state_dict_check import adapt_first, first_names, head_fits, load_all_but_head
from skipway.models.pretrained.state_dicts import StateDict, rank, read_state_dicts
from skipway.models.segmentation.base import Segmenter

SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".ckpt")


@dataclass(frozen=True)
class Pretrained:
    """Weights under our names; `record`: their registry entry, if any; `translation`: description of the conversion.

    read: notes on how the file was read; unused: names of tensors of its state dict that are not in `weights`; body: of
    the body of a detector or segmenter, the network whose weights they are; None if they are of the whole network.
    """

    weights: dict[str, Tensor]
    file: Path
    record: Weights | None = None
    translation: str = ""
    read: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    body: str | None = None

    def stem(self) -> str | None:
        """The stem that the weights were trained with; None if it cannot be inferred."""
        if "conv1.0.weight" in self.weights:  # three convolutions, used only for large images
            return "imagenet"
        first = self.weights.get("conv1.weight", self.weights.get("features.conv0.weight"))
        return None if first is None else {7: "imagenet", 3: "small"}.get(first.shape[-1])

    def classes(self, net: Network) -> int | None:
        """The number of classes of the main classifier; None if it is not in the weights."""
        head = self.weights.get(f"{net.heads[0]}.weight")
        if head is None:
            return None
        return net.count_classes(head.shape[0]) if isinstance(net, Detector) else head.shape[0]

    def conversion_notes(self) -> list[str]:
        """Notes on how the file's tensors were read and converted."""
        return [*self.read, *([self.translation] if self.translation else [])]


def require_net(record: Weights | None, model: str | None, text: str) -> None:
    """Raises SkipwayError if `text` refers to weights of another network than `model`, or than its body.

    Shapes are not sufficient: `plain20` has those of `resnet20`, and `resnet50_v1` those of `resnet50`.
    """
    if record and model and record.net not in (model, BODY_OF.get(model)):
        if body := BODY_OF.get(model):
            raise SkipwayError(
                f"{text} are weights of {record.net}, not of {model} or its body {body}: choose others from "
                f"`skipway weights list {body}`"
            )
        raise SkipwayError(f"{text} are weights of {record.net}, not of {model}: choose {record.net} as the model")


def not_found_error(model: str | None, text: str) -> SkipwayError:
    """The error for a `text` that does not refer to any weights."""
    if text in (EMBEDDED, NAME):
        return SkipwayError("this installation has no embedded weights: choose others from `skipway weights list`")
    tags = {name.split(".", 1)[1] for name in all_weights()}
    if model and text in tags:
        if body := BODY_OF.get(model):
            return SkipwayError(
                f"there are no {text} weights of {model}: `skipway weights list {body}` lists those of its body"
            )
        return SkipwayError(
            f"there are no {text} weights of {model}: `skipway weights list {model}` lists the available ones"
        )
    if "/" in text or Path(text).suffix in SUFFIXES:
        return SkipwayError(f"{text} does not exist: give a file or bundle, or hf:owner/repository for one on the hub")
    names = [*all_weights(), *(tags if model else ())]
    return UnknownNameError(
        "weights", text, names, "`skipway weights list` lists all; or give a file, or hf:owner/name"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Locating weights


def on_disk(text: str) -> Path | None:
    """The file that `text` refers to, directly or as a bundle's folder; None if it is neither."""
    path = Path(text)
    path = path / "weights.safetensors" if path.is_dir() else path
    return path if path.is_file() else None


def find_record(model: str | None, text: str) -> Weights | None:
    """The registered weights that `text` refers to: a name, a tag for `model` or its body, "embedded", or
    hf:owner/repository."""
    if text == EMBEDDED:
        return WEIGHTS.get(NAME)
    if text.startswith("hf:"):
        place = hub.parse(text)
        url = f"hf:{place.repository}/{place.file}"
        return next((w for w in WEIGHTS.values() if w.url == url and place.revision is None), None)
    body = BODY_OF.get(model) if model else None
    known = all_weights()
    return known.get(text) or known.get(f"{model}.{text}") or known.get(f"{body}.{text}")


def locate(model: str | None, text: str) -> tuple[Path, Weights | None]:
    """The file that `text` refers to, downloaded and verified if necessary, and its registry entry, if any.

    `text` is a name of WEIGHTS, a tag for `model`, "embedded", hf:owner/repository[@revision][/file], a file, or a
    bundle's folder. Downloads are announced. Raises SkipwayError in one line.
    """
    if file := on_disk(text):
        record = by_digest(digest(file, "sha256"))
        require_net(record, model, text)
        return file, record
    record = find_record(model, text)
    require_net(record, model, text)
    if record is not None:
        return hub.fetch_named(record), record
    if text.startswith("hf:"):
        return hub.fetch_place(hub.parse(text)), None
    raise not_found_error(model, text)


def network_of(text: str) -> str | None:
    """The network of the weights that `text` refers to (see `locate`); None if it is not known. Downloads nothing.

    Raises SkipwayError for an invalid hub name.
    """
    if file := on_disk(text):
        record = by_digest(digest(file, "sha256"))
        return record.net if record else network_in(file.with_name("card.json"))
    if text == EMBEDDED:
        return NETWORK
    if record := find_record(None, text):
        return record.net
    return network_of_timm_repository(hub.parse(text).repository) if text.startswith("hf:") else None


def network_in(card: Path) -> str | None:
    """The network named in a bundle's card; None if there is no valid card."""
    try:
        name = json.loads(card.read_bytes())["network"]["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) and (networks.is_known(name) or is_dense(name)) else None


def network_of_timm_repository(repository: str) -> str | None:
    """Our name of the network of one of timm's repositories, which are named by network and tag."""
    owner, name = repository.split("/")
    net = name.split(".")[0].replace("resnetv2_", "preresnet")
    return net if owner == "timm" and networks.is_known(net) else None


def is_cached(text: str, model: str | None = None) -> bool:
    """Whether the weights that `text` refers to (see `locate`) are on this machine. Makes no network requests."""
    if on_disk(text):
        return True
    if record := find_record(model, text):
        return hub.is_cached(record)
    return text.startswith("hf:") and hub.cached(hub.parse(text)) is not None


def is_available(text: str, model: str | None = None) -> bool:
    """Whether the weights that `text` refers to are on this machine, or their host responds within three seconds."""
    if is_cached(text, model):
        return True
    record = find_record(model, text)
    return (record is not None or text.startswith("hf:")) and reachable(hub.host_of(record))


# ---------------------------------------------------------------------------------------------------------------------
# Reading weights


def shapes_of(model: str) -> Shapes:
    """The shapes of the tensors of the network `model`. Raises UnknownNameError."""
    with ShapesOnly():
        net = create_dense(model, classes=1) if is_dense(model) else networks.create(model)
    return {key: value.shape for key, value in net.state_dict().items()}


def choose(found: list[StateDict], model: str | None) -> tuple[StateDict, Match]:
    """The state dict that matches `model` best, under our names; the first of equal ones, or if there is no model."""
    if model is None:
        return found[0], match(found[0].tensors, "", {})
    own = shapes_of(model)
    matched = [(state, best_match(state.tensors, own)) for state in found]
    return max(matched, key=lambda pair: (pair[1].fit, -rank(pair[0].entry)))


def reading_notes(state: StateDict, found: Match) -> tuple[str, ...]:
    """Notes on how a file was read: which entry was used, and what was removed from the names."""
    notes = []
    if state.others:
        others = ", ".join(f"{entry} ({number} tensors)" for entry, number in state.others.items())
        used = (
            f"'{'.'.join(state.entry)}' of the file is used" if state.entry else "the file's top-level tensors are used"
        )
        notes.append(f"{used}, and not {others}")
    if found.prefix:
        notes.append(f"the prefix '{found.prefix}' is removed")
    if found.wrapped:
        notes.append("'module.' and '_orig_mod.' are removed")
    return tuple(notes)


def unused_note(names: Iterable[str]) -> list[str]:
    """A note with the number and first names of unused tensors of a file; empty if all are used."""
    names = list(names)
    tensors = "1 tensor of the file is" if len(names) == 1 else f"{len(names)} tensors of the file are"
    return [f"{tensors} not used ({first_names(names)})"] if names else []


def read_for(file: Path, model: str | None, record: Weights | None = None) -> Pretrained:
    """The weights in `file` for the network `model` (None: unknown), under our names. Raises SkipwayError.

    For a detector or segmenter they may be those of its body, a classification network, under that network's names.
    """
    states, part = read_state_dicts(file), None
    state, found = choose(states, model)
    if model and (body := BODY_OF.get(model)):
        of_body = choose(states, body)
        if of_body[1].fit > found.fit:
            (state, found), part = of_body, body
    tensors, notes = found.tensors, reading_notes(state, found)
    if record and record.epsilon != EPSILON:
        tensors = with_epsilon(tensors, record.epsilon, EPSILON)
        notes += (f"batch-norm scales are converted from an epsilon of {record.epsilon:g} to {EPSILON:g}",)
    return Pretrained(tensors, file, record, found.translation, notes, found.unused, part)


def find(model: str | None, text: str) -> Pretrained:
    """The weights that `text` refers to (see `locate`) for `model`, under our names."""
    if model is not None and not networks.is_known(model) and not is_dense(model):
        raise UnknownNameError("model", model, [*networks.NETWORKS, *BODY_OF], "`skipway list` shows all names")
    file, record = locate(model, text)
    return read_for(file, model or (record.net if record else None), record)


def load(net: Network, pretrained: Pretrained, name: str) -> list[str]:
    """Load `pretrained` into `net`, called `name`; returns notes on how they were loaded, for the user.

    The first convolution is adapted to the number of channels, and a classifier that is missing or has other classes
    keeps its initialisation. Of a detector or segmenter the weights may be those of its body. Unused tensors are noted.
    Raises MismatchError for weights of another network.
    """
    if pretrained.body and isinstance(net, Detector | Segmenter):
        return load_body(net, pretrained, name)
    notes = pretrained.conversion_notes()
    weights = adapt_first(pretrained.weights, net)
    if weights is not pretrained.weights:
        notes.append("the first convolution is adapted to the number of channels")
    own = net.state_dict()
    left = load_all_but_head(net, weights, name)
    if not head_fits(net, weights, net.heads[0]):
        notes.append(new_classifier_note(net, pretrained))
    return notes + unused_note([*pretrained.unused, *(key for key in left if key not in own)])


def load_body(net: Detector | Segmenter, pretrained: Pretrained, name: str) -> list[str]:
    """Load `pretrained`, weights of a classification network, into the body of `net`; as `load`."""
    notes, body = pretrained.conversion_notes(), net.body
    weights = adapt_first(pretrained.weights, body)
    if weights is not pretrained.weights:
        notes.append("the first convolution is adapted to the number of channels")
    left = load_all_but_head(body, weights, name)
    notes.append(
        f"the weights are those of its body {pretrained.body}, without the classifier; the rest is initialised"
    )
    classifier = classifier_names(str(pretrained.body))
    return notes + unused_note([*pretrained.unused, *(key for key in left if not key.startswith(classifier))])


def classifier_names(model: str) -> tuple[str, ...]:
    """The prefixes of the names of the classifiers of the network `model`."""
    with ShapesOnly():
        return tuple(f"{head.split('.')[0]}." for head in networks.create(model).heads)


def new_classifier_note(net: Network, pretrained: Pretrained) -> str:
    """A note on why the classifier of `net` is not loaded from the file."""
    theirs, ours = pretrained.classes(net), net.classes if isinstance(net, Detector) else classes_of(net)
    if theirs is None:
        return f"the file has no classifier '{net.heads[0]}'; a new one for {ours} classes is initialised"
    if theirs == ours:
        return f"the file's classifier '{net.heads[0]}' has another shape and is not used; a new one is initialised"
    return f"the classifier for {theirs} classes is not used; a new one for {ours} classes is initialised"
