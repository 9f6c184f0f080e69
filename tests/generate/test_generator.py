"""A generator in use: which image belongs to which number and class, and what can be made of given images."""

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generated import CLASSES, write_generator
from PIL import Image
from served import write_bundle
from torch import Tensor

from skipway import hardware
from skipway.deploy.engines.base import Engine, run_synchronously
from skipway.deploy.generate.generator import Generator, on_engine
from skipway.deploy.generate.request import GeneratedImage, GenerationRequest
from skipway.errors import SkipwayError
from skipway.tasks.generate.sampler import SamplingOptions
from skipway.trained import TrainedModel

CPU = hardware.decide("cpu", precision="float32", workers=0)
SHORT = SamplingOptions(steps=3, solver="euler", guidance=2.0)
SHORT_PLAIN = replace(SHORT, guidance=1.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("runs") / "animals")


@pytest.fixture(scope="module")
def generator(run: Path) -> Generator:
    return Generator(run, CPU)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """Without classes, for images in colour that are not square."""
    return Generator(write_generator(tmp_path_factory.mktemp("runs") / "plain", [], 3, (6, 10)), CPU)


def pixels(images: list[GeneratedImage]) -> np.ndarray:
    return np.stack([image.pixels for image in images])


def drawn(generator: Generator, *classes: str, options: SamplingOptions = SHORT, **given: int) -> list[GeneratedImage]:
    return list(generator.generate(GenerationRequest(classes, options=options, **given)))


def test_an_image_is_that_of_eulers_method_written_out(generator: Generator, run: Path) -> None:
    net = TrainedModel.load(run).net
    image = drawn(generator, "bee", n=1, first=5, seed=3)[0]
    x = generator.sampler.noise(3, [5])
    with torch.inference_mode():
        for time in (1.0, 2 / 3, 1 / 3):
            without, with_class = (net(x, torch.tensor([time]), torch.tensor([label])) for label in (3, 1))
            x = x - (without + 2 * (with_class - without)) / 3
    expected = np.clip(np.rint((x.double().numpy()[0, 0] + 1) * 127.5), 0, 255)
    assert np.abs(image.pixels[..., 0] - expected).max() <= 1  # where a value falls on the border of two levels
    assert image.pixels.std() > 20


def test_image_i_has_the_same_bits_alone_in_a_batch_and_from_another_first(generator: Generator) -> None:
    many = drawn(generator, n=40)
    assert [image.index for image in many] == list(range(40))
    assert np.array_equal(pixels(drawn(generator, n=21, first=19)), pixels(many[19:]))
    for index in (0, 17, 39):
        [alone] = drawn(generator, n=1, first=index)
        assert (alone.index, alone.label) == (index, many[index].label)
        assert np.array_equal(alone.pixels, many[index].pixels)
    assert not np.array_equal(pixels(drawn(generator, n=2, seed=1)), pixels(many[:2]))


def test_classes_are_taken_in_turn_by_the_images_numbers(generator: Generator) -> None:
    assert [image.label for image in drawn(generator, n=5)] == ["ape", "bee", "cat", "ape", "bee"]
    assert [image.label for image in drawn(generator, "cat", "none", n=3, first=1)] == [None, "cat", None]
    mixed = drawn(generator, "cat", "none", n=2, options=SHORT_PLAIN)
    for image, name in zip(mixed, ("cat", "none"), strict=True):
        [alone] = drawn(generator, name, n=1, first=image.index, options=SHORT_PLAIN)
        assert np.array_equal(alone.pixels, image.pixels)
    assert not np.array_equal(mixed[0].pixels, drawn(generator, "ape", n=1)[0].pixels)


def test_without_a_class_nothing_is_spent_on_guidance(generator: Generator) -> None:
    seen: list[tuple[int, int]] = []
    request = GenerationRequest(("none",), options=SHORT)
    [image] = generator.generate(request, lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert image.text()["guidance"] == "1"


def test_a_generator_without_classes_has_no_labels_and_its_own_shape(plain: Generator) -> None:
    images = drawn(plain, n=3, options=SHORT_PLAIN)
    assert [image.label for image in images] == [None] * 3
    assert pixels(images).shape == (3, 6, 10, 3)
    with pytest.raises(SkipwayError, match="class 'ape': this generator was trained without classes"):
        plain.generate(GenerationRequest(("ape",)))
    with pytest.raises(SkipwayError, match="guidance: this generator was trained without classes"):
        plain.generate(GenerationRequest(options=SHORT))


def test_the_text_of_an_image_says_how_to_make_it_again(generator: Generator) -> None:
    image = drawn(generator, n=3, seed=9)[2]
    text = image.text()
    assert text["weights"] == generator.card.weights_sha256
    assert text["Software"].startswith("skipway ")
    assert "neural network" in text["generated"]
    low, high = map(float, text["interval"].split(","))
    again = GenerationRequest(
        (text["class"],),
        seed=int(text["seed"]),
        first=int(text["index"]),
        options=SamplingOptions(int(text["steps"]), text["solver"], float(text["guidance"]), (low, high), text["grid"]),
    )
    [made] = generator.generate(again)
    assert np.array_equal(made.pixels, image.pixels)
    assert made.text() == text


def test_progress_ends_at_its_total_and_what_it_raises_stops_the_drawing(generator: Generator) -> None:
    seen: list[tuple[int, int]] = []
    list(generator.generate(GenerationRequest(n=70, options=SHORT), lambda done, of: seen.append((done, of))))
    assert seen == [(done, 12) for done in range(2, 13, 2)]  # two batches of 3 steps with 2 evaluations each

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(generator.generate(GenerationRequest(n=70, options=SHORT), stop))


def test_a_path_leads_from_the_noise_to_the_very_image(generator: Generator) -> None:
    request = GenerationRequest(n=18, options=SHORT)
    paths = list(generator.trajectory(request, 4))
    noise = generator.sampler.noise(0, range(18)).permute(0, 2, 3, 1).numpy()
    for path, image, start in zip(paths, generator.generate(request), noise, strict=True):
        assert path.times == (1.0, *(pytest.approx(time) for time in (2 / 3, 1 / 3)), 0.0)
        assert path.noisy.shape == path.denoised.shape == (4, 8, 8, 1)
        assert np.array_equal(path.noisy[0], np.clip(np.rint((start + 1) * 127.5), 0, 255))
        assert np.array_equal(path.noisy[-1], image.pixels)
        assert np.array_equal(path.image.pixels, image.pixels)
        assert (path.image.index, path.image.label) == (image.index, image.label)


def test_an_interpolation_passes_through_the_images_of_its_ends(generator: Generator) -> None:
    request = GenerationRequest(("cat",), n=3, first=4, options=SHORT)
    way = list(generator.interpolate(request, 3))
    assert [image.index for image in way] == list(range(9))
    assert {image.label for image in way} == {"cat"}
    assert np.array_equal(pixels(way[::4]), pixels(list(generator.generate(request))))
    steps = np.abs(np.diff(pixels(way).astype(float), axis=0)).mean((1, 2, 3))
    assert (steps > 0).all()
    with pytest.raises(SkipwayError, match="2 classes, where images are of one: give one or none"):
        generator.interpolate(GenerationRequest(("cat", "ape"), n=2), 3)


def file_of(folder: Path, image: np.ndarray, name: str = "given.png") -> Path:
    Image.fromarray(image.squeeze()).save(folder / name)
    return folder / name


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [120 + 60 * np.sin(3 * rows + shift) * np.cos(2 * columns) for shift in range(channels)]
    return np.stack(planes, 2).round().astype(np.uint8)


def test_a_given_image_comes_back_from_its_noise(plain: Generator, tmp_path: Path) -> None:
    image = smooth(6, 10, 3)
    fine, alone = SamplingOptions(steps=60, solver="midpoint"), copy(plain)
    alone.sampler = replace(plain.sampler, batch=1)
    [back] = alone.interpolate_images([file_of(tmp_path, image)], GenerationRequest(options=fine), 0)
    assert np.abs(back.pixels.astype(int) - image).mean() < 2
    assert back.text()["between"] == "given.png"
    assert "seed" not in back.text()


def test_only_the_white_part_of_a_mask_is_filled_in(generator: Generator, tmp_path: Path) -> None:
    image, mask = smooth(8, 8, 1), np.zeros((8, 8, 1), np.uint8)
    mask[2:5, 3:] = 255
    files = file_of(tmp_path, image), file_of(tmp_path, mask, "mask.png")
    found = pixels(list(generator.inpaint(*files, GenerationRequest(("cat",), n=3, options=SHORT))))
    inside = mask[..., 0] > 0
    assert (found[:, ~inside] == image[~inside]).all()
    assert not np.array_equal(found[0][inside], found[1][inside])
    assert np.abs(found[:, inside].astype(int) - image[inside]).mean() > 1


def test_a_mask_that_does_not_fit_is_refused_in_one_line(generator: Generator, tmp_path: Path) -> None:
    image = file_of(tmp_path, smooth(8, 8, 1))
    for mask, said in (
        (np.full((8, 9), 255, np.uint8), "mask.png is 9 x 8 pixels, its image 8 x 8: make them equal"),
        (np.zeros((8, 8), np.uint8), "mask.png has no white pixel"),
    ):
        with pytest.raises(SkipwayError, match=said):
            generator.inpaint(image, file_of(tmp_path, mask, "mask.png"), GenerationRequest())


def test_denoising_gives_the_mean_that_the_velocity_says(generator: Generator, run: Path, tmp_path: Path) -> None:
    """D = x_t - t v(x_t, t) with t = sigma / (1 + sigma) and x_t = (1 - t) times the noisy image (EDM's denoiser)."""
    net, image, sigma = TrainedModel.load(run).net, smooth(8, 8, 1), 51 / 127.5
    [found] = generator.denoise([file_of(tmp_path, image)], 51, GenerationRequest(("bee",)))
    t = sigma / (1 + sigma)
    x: Tensor = (1 - t) * (torch.from_numpy(image[None, None, ..., 0]).float() / 127.5 - 1)
    with torch.inference_mode():
        mean = x - t * net(x, torch.tensor([t]), torch.tensor([1]))
    expected = np.clip(np.rint((mean.numpy()[0, 0] + 1) * 127.5), 0, 255)
    assert np.abs(found.pixels[..., 0] - expected).max() <= 1
    with pytest.raises(SkipwayError, match="noise of 0 levels"):
        generator.denoise([tmp_path / "given.png"], 0, GenerationRequest())


def test_another_engine_draws_the_same_images(run: Path, generator: Generator) -> None:
    other = Generator(run, CPU, "folded")
    found, wanted = (pixels(drawn(one, n=3)).astype(int) for one in (other, generator))
    assert np.abs(found - wanted).max() <= 1


def test_an_engine_without_labels_gets_images_and_times(plain: Generator) -> None:
    def run(images: Tensor, times: Tensor) -> Tensor:
        return plain.sampler.net(images, times, torch.zeros(len(images), dtype=torch.int64))

    engine = Engine("mine", "float32", {}, 8, 2, run_synchronously(torch.inference_mode()(run)))
    sampler = on_engine(plain.sampler, engine, 2)
    assert sampler.batch == plain.sampler.batch  # of which the engine takes 8 at a time
    assert torch.allclose(sampler.sample([None] * 3, 0, SHORT_PLAIN), plain.sampler.sample([None] * 3, 0, SHORT_PLAIN))


def test_a_network_of_another_task_is_refused_with_the_command_for_it(tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match=r"generates no images: use `skipway predict`"):
        Generator(write_bundle(tmp_path / "labels"), CPU)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "n is 0: ask for at least 1 image"),
        ({"n": 1_000_001}, "n is 1,000,001: ask for at most 1,000,000 images at a time"),
        ({"seed": -1}, "the seed is -1"),
        ({"seed": 2**63}, "the seed is 9223372036854775808"),
        ({"first": -1}, "the first image is -1"),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(given: dict[str, int], said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        GenerationRequest(**given)


def test_a_class_that_is_not_there_is_answered_with_the_nearest(generator: Generator) -> None:
    with pytest.raises(SkipwayError, match="unknown class 'bees': did you mean 'bee'") as caught:
        generator.generate(GenerationRequest(("bees",)))
    assert ", ".join(CLASSES) in str(caught.value)
