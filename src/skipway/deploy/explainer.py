"""Explain a prediction: the image, Grad-CAM's and occlusion's heat over it, as one picture."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skipway import bundle
from skipway.attribution.gradcam import grad_cam, occlusion
from skipway.attribution.heatmap import COLOURS, overlay
from skipway.errors import SkipwayError, UnknownNameError
from skipway.hardware import Hardware, decide
from skipway.reporting.svg import STYLE, legible
from skipway.tasks.inference import batch_size, predict_batches
from skipway.trained import TrainedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("grad-cam", "occlusion")
LEAST = 1e-4  # a hundredth of a percentage point: smaller falls of a probability are shown as none


@dataclass(frozen=True)
class Explanation:
    """Where the network sees `label` in an image.

    image: uint8 (H, W, 3), fitted as the network saw it; probability of `label` and of `predicted`, the most likely
    class, at the card's temperature; heat: by method, (H, W): Grad-CAM's in [0, 1], the largest being 1; occlusion's as
    the fall of the probability in [-1, 1].
    """

    name: str
    image: np.ndarray
    label: str
    probability: float
    predicted: str
    predicted_probability: float
    heat: dict[str, np.ndarray]


class Explainer:
    """A trained network ready to be asked why. `hardware` is this machine's best when None; computes in float32."""

    def __init__(self, folder: str | Path, hardware: Hardware | None = None) -> None:
        self.hardware = hardware or decide()
        trained = TrainedModel.load(folder, self.hardware)
        self.net, self.task, self.card = trained.net, trained.task, trained.card
        self.preprocessing = trained.preprocessing
        if self.task.explainer(self.net, self.preprocessing, self.hardware.device) is None:
            raise SkipwayError(f"{folder} has no class of an image to explain, which heat maps are for")

    def place_of(self, label: str) -> int:
        """The class's place among the outputs. Raises UnknownNameError with the nearest name."""
        if label not in self.task.classes:
            some = ", ".join(self.task.classes[:5])
            more = " ..." if self.task.outputs > 5 else ""
            raise UnknownNameError("class", label, self.task.classes, f"the network knows {some}{more}")
        return self.task.classes.index(label)

    def explain(self, image: Path, label: str | None = None, methods: Sequence[str] = METHODS) -> Explanation:
        """Where the network sees `label` (the most likely class when None) in the file `image`.

        Raises DataError naming the image when it cannot be read, UnknownNameError for a class that there is not.
        """
        place = None if label is None else self.place_of(label)
        fitted = self.preprocessing.open(image, str(image))
        scores, *_ = next(predict_batches(self.net, [fitted[None]], self.preprocessing, self.hardware.device))
        probabilities = self.probabilities(scores)[0]
        best = int(probabilities.argmax())
        place = best if place is None else place
        normalised = self.preprocessing.normalised(fitted[None].to(self.hardware.device))
        return Explanation(
            name=str(image),
            image=seen(fitted),
            label=self.task.classes[place],
            probability=probabilities[place].item(),
            predicted=self.task.classes[best],
            predicted_probability=probabilities[best].item(),
            heat={method: self.heat(method, normalised, place) for method in methods},
        )

    def heat(self, method: str, normalised: Tensor, place: int) -> np.ndarray:
        if method == "grad-cam":
            return grad_cam(self.net, normalised, torch.tensor([place]))[0].numpy()
        return occlusion(self.net, normalised[0], place, self.probabilities, batch_size(self.hardware.device)).numpy()

    def probabilities(self, scores: Tensor) -> Tensor:
        return self.task.class_probabilities(scores, self.card.temperature)


def seen(image: Tensor) -> np.ndarray:
    """uint8 (C, H, W) -> (H, W, 3) to look at: three channels as they are, else the grey of their mean."""
    pixels = image.permute(1, 2, 0).numpy()
    if pixels.shape[2] == 3:
        return pixels
    grey = np.rint(pixels.mean(2, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, 3, axis=2)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def picture(explanation: Explanation) -> bytes:
    """The image beside each method's heat over it, with colour bars, the class and its probability, as PNG."""
    import matplotlib
    from matplotlib.figure import Figure

    file = BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # another script than the font's shows as boxes
        panels = 1 + len(explanation.heat)
        figure = Figure(figsize=(3.3 * panels + 0.3, 3.9), layout="constrained", facecolor="white")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        figure.suptitle(heading(explanation), parse_math=False, fontsize=11)
        show(axes[0], explanation.image, "the image as the network sees it")
        for one, (method, heat) in zip(axes[1:], explanation.heat.items(), strict=True):
            draw_heat(figure, one, explanation.image, method, heat)
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def heading(explanation: Explanation) -> str:
    """The file, the class and its probability; the most likely class too where it is another."""
    lines = [short(Path(explanation.name).name, 70)]
    lines.append(f"{short(explanation.label, 50)}: {100 * explanation.probability:.2f} %")
    if explanation.label != explanation.predicted:
        lines[-1] += (
            f"  (predicted {short(explanation.predicted, 50)}: {100 * explanation.predicted_probability:.2f} %)"
        )
    return "\n".join(lines)


def short(text: str, most: int) -> str:
    """`text` without its middle where it is longer than `most` characters."""
    text = legible(text)
    return text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most // 4) :]}"


def show(axes: "Axes", image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def draw_heat(figure: "Figure", axes: "Axes", image: np.ndarray, method: str, heat: np.ndarray) -> None:
    """The overlay and its colour bar: Grad-CAM's share of the largest, occlusion's fall in percentage points."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    most = float(heat.max())
    speaks = most >= LEAST
    title, top, unit, nothing = "Grad-CAM", 1.0, "share of the largest", "nothing speaks for the class"
    if method == "occlusion":
        title, top, unit = "occlusion", 100 * most, "fall of the probability (points)"
        nothing = "no patch lowers the probability"
    if not speaks:
        title, top = f"{title}: {nothing}", 1.0
    show(axes, overlay(image, heat / most if speaks else np.zeros_like(heat)), title)
    scale: Any = ScalarMappable(Normalize(0, top), COLOURS)
    bar = figure.colorbar(scale, ax=axes, shrink=0.8, pad=0.03, format="%.3g")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label(unit)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def free_folder() -> Path:
    """explained, with a number behind it when that is taken."""
    number = 1
    while (folder := Path("explained" if number == 1 else f"explained-{number}")).exists():
        number += 1
    return folder


def new_files(images: Sequence[Path], folder: Path) -> list[Path]:
    """A PNG in `folder` for each image, named after it, with a number behind where two have one name.

    Raises SkipwayError when one exists already.
    """
    files: list[Path] = []
    for image in images:
        names = (image.stem if number == 1 else f"{image.stem}-{number}" for number in count(1))
        files.append(next(file for name in names if (file := folder / f"{name}.png") not in files))
    existing = next((file for file in files if file.exists()), None)
    if existing:
        raise SkipwayError(f"{existing} exists: choose another --out")
    return files


def save(explanation: Explanation, file: Path) -> None:
    """The picture at `file`, in a folder that is made where it is missing. Raises SkipwayError where it cannot be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_atomically(file, picture(explanation))
    except OSError as fault:
        raise SkipwayError(f"{file} cannot be written ({fault.strerror}): choose another --out") from None
