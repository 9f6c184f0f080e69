"""Sampling: options, the same digits in any company, and images that known flows must give."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skipway.errors import SkipwayError, UnknownNameError
from skipway.tasks.generate.copies import nearest_training
from skipway.tasks.generate.sampler import Sampler, SamplingOptions, to_uint8
from tests.generate.closed_forms import Gaussian, Points, correlated

CPU = torch.device("cpu")
SHAPE = (2, 6, 7)
CLASSES = 5
GUIDED = SamplingOptions(steps=5, guidance=2.0, interval=(0.2, 0.7))


class SmallNet(nn.Module):
    """Convolutions, group norm and embeddings of time and class: what order of summation may change in a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 16, 3, padding=1), nn.GroupNorm(4, 16)
        self.label, self.time = nn.Embedding(CLASSES + 1, 16), nn.Linear(1, 16)
        self.last = nn.Conv2d(16, 2, 3, padding=1)
        self.sizes: list[int] = []

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        self.sizes.append(len(x))
        embedding = self.label(labels) + self.time(t[:, None])
        return self.last(nn.functional.silu(self.norm(self.first(x)) + embedding[..., None, None]))


def sampler(batch: int = 4) -> Sampler:
    torch.manual_seed(0)
    return Sampler(SmallNet().eval(), CLASSES, SHAPE, CPU, batch)


def of_flow(flow: Gaussian | Points, shape: tuple[int, int, int], batch: int = 4) -> Sampler:
    return Sampler(lambda x, t, labels: flow(x, t), 0, shape, CPU, batch)


# the same digits


@pytest.mark.parametrize("options", [SamplingOptions(steps=5), GUIDED], ids=["plain", "guided"])
def test_an_image_has_the_same_digits_alone_among_others_in_another_order_and_number(options: SamplingOptions) -> None:
    labels = [0, 3, None, 1, 4, 2, 0, None, 3]
    drawn = sampler().sample(labels, 7, options)
    assert drawn.shape == (9, *SHAPE) and drawn.dtype == torch.float32
    for index in (0, 5, 8):
        assert torch.equal(sampler().sample([labels[index]], 7, options, [index])[0], drawn[index]), index
    order = [8, 1, 5, 0, 7, 2]
    assert torch.equal(sampler().sample([labels[i] for i in order], 7, options, order), drawn[order])
    assert torch.equal(sampler().sample(labels[:6], 7, options), drawn[:6])


def test_images_of_another_number_or_seed_are_others() -> None:
    first, second = sampler().sample([1, 1], 3)
    (other,) = sampler().sample([1], 4)
    assert min(float((a - b).abs().max()) for a, b in ((first, second), (first, other), (second, other))) > 0.1


def test_noise_is_standard_normal_and_of_seed_and_number_alone() -> None:
    noise = sampler().noise(5, range(600))
    assert torch.equal(noise[[17, 3]], sampler(batch=1).noise(5, [17, 3]))
    count = noise.numel()  # 50,400 numbers: mean and variance within 5 of their standard errors
    assert abs(float(noise.mean())) < 5 / math.sqrt(count)
    assert abs(float(noise.var()) - 1) < 5 * math.sqrt(2 / count)
    # no two images are alike: 600 x 599 / 2 correlations of 84 numbers, of deviation 1 / sqrt(84), below 7 of them
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(600)
    assert float(correlation.abs().max()) < 7 / math.sqrt(84)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_network_is_given_full_batches_alone(guidance: float) -> None:
    drawer = sampler()
    options = SamplingOptions(steps=3, guidance=guidance)
    drawer.sample([1] * 6, 0, options)
    assert isinstance(drawer.net, SmallNet)
    evaluated = 4 if guidance == 1 else 8  # the batch, or twice for both classes
    assert set(drawer.net.sizes) == {evaluated}
    assert sum(drawer.net.sizes) == 2 * 4 * options.evaluations  # two batches of four


def test_evaluations_are_counted_as_they_are_made() -> None:
    assert SamplingOptions().evaluations == 35
    assert SamplingOptions(guidance=2).evaluations == 70
    assert SamplingOptions(guidance=0).evaluations == 35
    assert SamplingOptions(solver="euler", steps=10, guidance=3, interval=(0.3, 0.8)).evaluations == 10 + 6
    drawer = sampler(1)
    for options in (GUIDED, SamplingOptions(4, "midpoint", 3.0, (0.0, 0.4), "rho7")):
        assert isinstance(drawer.net, SmallNet)
        drawer.net.sizes.clear()
        drawer.sample([1], 0, options)
        assert sum(drawer.net.sizes) == options.evaluations


# what is drawn


def test_samples_of_a_gaussian_are_what_its_flow_makes_of_their_noise() -> None:
    flow, shape = correlated(12), (3, 2, 2)
    drawer = of_flow(flow, shape)
    truth = flow.image_of(drawer.noise(3, range(6)).double()).float()
    coarse, fine = ((drawer.sample([None] * 6, 3, SamplingOptions(steps)) - truth).abs().max() for steps in (50, 100))
    assert float(coarse / fine) == pytest.approx(4, rel=0.2)
    assert float(coarse) < 0.01


def test_samples_of_training_images_alone_are_those_images() -> None:
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = of_flow(Points(images), (1, 4, 4)).sample([None] * 30)
    distances = torch.cdist(found.flatten(1).double(), images.flatten(1).double())
    # at the last time, 1 / 18, the weight of another image at the distance d is exp(-d^2 / (2 / 18^2)), 0 for d > 1
    assert float(distances.min(1).values.max()) < 1e-5
    assert len(set(distances.argmin(1).tolist())) > 3
    assert nearest_training(to_uint8(found), to_uint8(images)).share == 1, "and are seen to be copies"


def test_given_noises_become_the_images_of_their_numbers() -> None:
    drawer, labels = sampler(), [0, 1, 2, None, 4]
    drawn = drawer.sample(labels, 3, GUIDED)
    assert torch.equal(drawer.decode(drawer.noise(3, range(5)), labels, GUIDED), drawn)


def test_inversion_returns_to_the_image_to_second_order() -> None:
    drawer = of_flow(correlated(12), (3, 2, 2))
    images = drawer.sample([None] * 5, 1, SamplingOptions(320))

    def off(steps: int) -> float:
        options = SamplingOptions(steps)
        noise = drawer.invert(images, [None] * 5, options)
        return float((drawer.decode(noise, [None] * 5, options) - images).abs().max())

    assert off(18) < 0.05
    assert off(40) / off(80) == pytest.approx(4, rel=0.25)
    noise = drawer.invert(images, [None] * 5, SamplingOptions(320))
    # both ways of 320 steps are off by h^2 times constants that off(80) shows
    assert float((noise - drawer.noise(1, range(5))).abs().max()) < 10 * off(80)


def test_an_interpolation_begins_and_ends_at_the_two_images() -> None:
    drawer = sampler()
    noise, labels = drawer.noise(0, [0, 1]), [2, 2]
    ends = drawer.decode(noise, labels, GUIDED)
    between = drawer.interpolate(noise[0], noise[1], [2] * 5, GUIDED)
    torch.testing.assert_close(between[[0, -1]], ends, atol=1e-5, rtol=0)
    flow = correlated(12)
    a, b = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    angle = torch.acos((a * b).sum() / a.norm() / b.norm())
    middle = (a + b) * torch.sin(angle / 2) / torch.sin(angle)
    found = of_flow(flow, (3, 2, 2)).interpolate(a, b, [None] * 3, SamplingOptions(100))
    truth = flow.image_of(torch.stack([a, middle, b]).double()).float()
    torch.testing.assert_close(found, truth, atol=0.003, rtol=0)  # the error of 100 steps, a quarter of that of 50


def test_a_path_goes_from_the_noise_to_the_sample_and_costs_nothing() -> None:
    drawer, labels = sampler(), [0, 1, 2, None, 4]
    assert isinstance(drawer.net, SmallNet)
    drawn = drawer.sample(labels, 3, GUIDED)
    evaluated, _ = len(drawer.net.sizes), drawer.net.sizes.clear()
    frames = drawer.trajectory(labels, 3, GUIDED, 4)
    assert len(drawer.net.sizes) == evaluated
    assert [frame.time for frame in frames] == pytest.approx([1, 0.6, 0.4, 0])
    assert torch.equal(frames[0].images, drawer.noise(3, range(5)))
    assert torch.equal(frames[-1].images, drawn) and torch.equal(frames[-1].denoised, drawn)
    every = drawer.trajectory(labels, 3, GUIDED, 100)
    assert [frame.time for frame in every] == GUIDED.times
    seen: list[Tensor] = []
    drawer.sample(labels[:4], 3, GUIDED, None, lambda step, x: seen.append(x.clone()))
    for frame, x in zip(every[1:], seen, strict=True):
        assert torch.equal(frame.images[:4], x)


def test_the_denoised_images_of_a_path_begin_at_the_mean() -> None:
    flow = correlated(12)
    frames = of_flow(flow, (3, 2, 2)).trajectory([None] * 3, frames=5)
    mean = flow.mean.float().reshape(1, 3, 2, 2)
    torch.testing.assert_close(frames[0].denoised, mean.expand(3, -1, -1, -1), atol=1e-5, rtol=0)
    for frame in frames:  # Wiener's filter, at the level t / (1 - t)
        shrunk = (
            flow.cov
            * (1 - frame.time)
            @ torch.linalg.inv((1 - frame.time) ** 2 * flow.cov + frame.time**2 * torch.eye(12))
        )
        centred = frame.images.flatten(1).double() - (1 - frame.time) * flow.mean
        torch.testing.assert_close(
            frame.denoised.flatten(1).double(), flow.mean + centred @ shrunk.T, atol=1e-4, rtol=0
        )


def test_after_step_counts_the_steps_of_all_batches_and_may_stop() -> None:
    steps: list[tuple[int, int]] = []
    sampler().sample([1] * 6, 0, SamplingOptions(3), None, lambda step, x: steps.append((step, len(x))))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 2), (4, 2), (5, 2)]

    def cancel(step: int, x: Tensor) -> None:
        raise KeyboardInterrupt

    drawer = sampler()
    with pytest.raises(KeyboardInterrupt):
        drawer.sample([1] * 6, 0, SamplingOptions(3), None, cancel)
    assert isinstance(drawer.net, SmallNet) and len(drawer.net.sizes) == 2


def test_what_comes_back_is_rounded_as_images_are_stored() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(values / 127.5 - 1), values)
    assert to_uint8(torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])).tolist() == [0, 0, 128, 255, 255]


# refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "0 steps: give at least 1"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"guidance": -1.0}, "guidance -1"),
        ({"interval": (0.7, 0.2)}, r"times 0.7 to 0.2: give two times"),
        ({"interval": (0.0, 1.5)}, "times 0.0 to 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SkipwayError, match=message):
        SamplingOptions(**settings)  # type: ignore[arg-type]


def test_unknown_solvers_and_grids_are_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'midpoint'"):
        SamplingOptions(solver="midpiont")
    with pytest.raises(UnknownNameError, match="did you mean 'uniform'"):
        SamplingOptions(grid="unifrm")


def test_what_is_not_there_is_refused_in_one_line() -> None:
    drawer, plain = sampler(), of_flow(correlated(12), (3, 2, 2))
    calls = [
        (lambda: drawer.sample([1, 5]), "class 5: this generator has 5 classes: give 0 to 4, or None for no class"),
        (lambda: drawer.sample([-1]), "class -1: this generator has 5 classes"),
        (lambda: plain.sample([0]), "class 0: this generator was trained without classes: leave the class out"),
        (lambda: plain.sample([None], options=SamplingOptions(guidance=2)), "guidance is towards a class"),
        (lambda: drawer.sample([]), "no images are asked for: ask for at least 1"),
        (lambda: drawer.sample([1], -1), "seed -1: give 0 to 2"),
        (lambda: drawer.sample([1], 0, GUIDED, [-2]), "image -2: images are numbered from 0"),
        (lambda: drawer.sample([1, 2], 0, GUIDED, [0]), "2 labels for 1 numbers of images: give as many"),
        (lambda: drawer.trajectory([1], frames=1), "a path of 1 frames"),
        (lambda: drawer.decode(torch.zeros(2, *SHAPE), [1]), "1 labels for 2 images: give as many"),
        (lambda: drawer.invert(torch.zeros(1, 1, 6, 7), [1]), r"images of 1 x 6 x 7: this generator takes 2 x 6 x 7"),
        (lambda: drawer.interpolate(torch.zeros(SHAPE), torch.zeros(SHAPE), [1]), "an interpolation has two ends"),
    ]
    for call, message in calls:
        with pytest.raises(SkipwayError, match=message) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_network_that_does_not_give_numbers_is_refused() -> None:
    broken = Sampler(lambda x, t, labels: x * np.nan, 0, SHAPE, CPU, 2)
    with pytest.raises(SkipwayError, match="not finite"):
        broken.sample([None])
