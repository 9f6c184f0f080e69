"""A video is its frames: each gets the answer of the same pixels as an image, in order, a few held at a time."""

import csv
import json
import struct
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from videos import write_video

from skipway.cli import app
from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import Engine
from skipway.deploy.engines.selection import open_engine
from skipway.deploy.predict import inputs, video
from skipway.deploy.predict import predictor as predictors
from skipway.deploy.predict.inputs import named
from skipway.deploy.predict.pipeline import AHEAD
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.predict.video import FrameReader, frame_of, frames_of
from skipway.deploy.sample_images import Samples
from skipway.errors import DataError, SkipwayError
from skipway.hardware import decide

FRAMES = 10
UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
A_QUARTER_CLOCKWISE = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)


def frames(count: int = FRAMES, height: int = 36, width: int = 48, seed: int = 0) -> list[np.ndarray]:
    """Noise over a ramp of another colour in each."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, width)[None, :, None]
    return [
        (ramp * rng.uniform(0, 180, 3) + rng.uniform(0, 76, (height, width, 3))).astype(np.uint8) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mov", frames())


@pytest.fixture(scope="module")
def files(clip: Path) -> list[Path]:
    """The frames as PNG."""
    folder = clip.parent / "png"
    folder.mkdir()
    found = [folder / f"{i:02d}.png" for i in range(FRAMES)]
    for file, pixels in zip(found, frames(), strict=True):
        Image.fromarray(pixels).save(file)
    return found


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(run, decide("cpu", workers=2))


@pytest.mark.parametrize(("ending", "codec", "pixels"), [("mov", "png", "rgb24"), ("mkv", "ffv1", "bgr0")])
def test_frames_are_the_pixels_that_were_written(ending: str, codec: str, pixels: str, tmp_path: Path) -> None:
    file = write_video(tmp_path / f"clip.{ending}", frames(), codec, pixels)
    found = list(frames_of(file))
    assert len(found) == FRAMES
    assert all(map(np.array_equal, found, frames()))


def test_a_video_that_was_filmed_on_its_side_is_turned(clip: Path, tmp_path: Path) -> None:
    content = clip.read_bytes()
    place = content.index(UPRIGHT, content.index(b"tkhd"))
    file = tmp_path / "turned.mov"
    file.write_bytes(content[:place] + A_QUARTER_CLOCKWISE + content[place + len(UPRIGHT) :])
    assert all(map(np.array_equal, frames_of(file), [np.rot90(frame, -1) for frame in frames()]))


def test_every_frame_gets_the_answer_of_the_same_image(predictor: Predictor, clip: Path, files: list[Path]) -> None:
    found, wanted = list(predictor.predict(clip)), list(predictor.predict(files))
    assert [one.name for one in found] == [f"{clip}#{i}" for i in range(FRAMES)]
    assert [replace(one, name="") for one in found] == [replace(one, name="") for one in wanted]
    assert torch.equal(torch.tensor(predictor.predict_proba(clip)), torch.tensor(predictor.predict_proba(files)))
    mixed = [one.name for one in predictor.predict([files[0], clip, files[1]])]
    assert mixed == [str(files[0]), *(one.name for one in found), str(files[1])]


def test_a_network_of_grey_images_reads_a_video_as_it_reads_images(clip: Path, files: list[Path]) -> None:
    grey = Preprocessing(1, 32, 32, (0.5,), (0.25,))
    for (name, item), file in zip(named(iter([clip]), grey), files, strict=True):
        assert not isinstance(item, DataError)
        assert torch.equal(grey.open(item, name), grey.open(file, "file"))


def test_json_and_csv_name_every_frame(run: Path, clip: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["predict", str(run), str(clip), "--json"])
    assert said.exit_code == 0, said.output
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert [row["image"] for row in rows] == [f"{clip}#{i}" for i in range(FRAMES)]
    said = CliRunner().invoke(app, ["predict", str(run), str(clip), "--csv", str(tmp_path / "out.csv")])
    assert said.exit_code == 0, said.output
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == [row["image"] for row in rows]


def test_every_third_frame_is_the_answer_of_that_frame(predictor: Predictor, run: Path, clip: Path) -> None:
    every, all_of_them = list(predictor.predict(clip, every=3)), list(predictor.predict(clip))
    assert every == all_of_them[::3]
    assert [one.name for one in every] == [f"{clip}#{i}" for i in (0, 3, 6, 9)]
    said = CliRunner().invoke(app, ["predict", str(run), str(clip), "--json", "--every", "4"])
    assert [json.loads(line)["image"] for line in said.stdout.splitlines()] == [f"{clip}#{i}" for i in (0, 4, 8)]
    with pytest.raises(SkipwayError, match=r"^every must be at least 1, and is 0$"):
        predictor.predict(clip, every=0)


def test_engines_are_compared_on_frames(run: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Samples] = []

    def opened(name, trained, hardware, goal, samples, say) -> Engine:
        seen.append(samples())
        return open_engine("eager", trained, hardware, goal, samples, say)

    monkeypatch.setattr(predictors, "open_engine", opened)
    made = Predictor(run, decide("cpu"), "auto", sample=[clip])
    [samples] = seen
    assert torch.equal(*samples.inputs, torch.stack([made.preprocessing.open(one, "frame") for one in frames()]))


def test_frames_are_not_held_once_they_are_fitted(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of many, no more than those of the batches that are being decoded."""
    alive, most = 0, 0

    class Watched(np.ndarray):
        """Pixels that can be referred to weakly."""

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def watched(path: Path, every: int) -> Iterator[np.ndarray]:
        nonlocal alive, most
        for pixels in frames_of(path, every):
            frame = pixels.view(Watched)
            weakref.finalize(frame, gone)
            alive += 1
            most = max(most, alive)
            yield frame

    monkeypatch.setattr(inputs, "frames_of", watched)
    file, batch = write_video(tmp_path / "long.mov", frames(1) * 200), predictor.engine.batch
    assert sum(1 for _ in predictor.predict(file)) == 200 > 10 * batch
    assert most <= (AHEAD + 1) * batch + 2  # the last that was taken has two names


def test_frames_are_found_again_by_their_names(clip: Path) -> None:
    reader, expected = FrameReader(), frames()
    for number in (0, 1, 4, 9, 2):
        found = reader.read(f"{clip}#{number}")
        assert found is not None and np.array_equal(found, expected[number])
    assert reader.read("photo#3.jpg") is None
    with pytest.raises(DataError, match="has no frame 10"):
        reader.read(f"{clip}#10")
    assert frame_of("a#1/clip.MP4#12") == (Path("a#1/clip.MP4"), 12)
    assert frame_of("clip.mp4") is None and frame_of("clip.jpg#3") is None


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "half", "sound"])
def test_what_is_no_video_is_one_line_and_the_others_are_answered(
    kind: str, predictor: Predictor, clip: Path, files: list[Path], tmp_path: Path
) -> None:
    content = clip.read_bytes()
    file = tmp_path / "bad.mov"
    if kind == "sound":
        with av.open(str(file), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            sound.sample_rate = 8000
            container.mux(stream.encode(sound))
    elif kind != "missing":
        file.write_bytes({"empty": b"", "text": b"no video\n", "half": content[: len(content) // 2]}[kind])
    bad, good = predictor.predict([file, files[0]])
    assert bad.name == str(file)
    assert bad.error.startswith(str(file)) and "\n" not in bad.error
    assert not good.error


def test_frames_before_the_damage_are_answered(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    content = bytearray(clip.read_bytes())
    starts = [i for i in range(len(content)) if content.startswith(b"\x89PNG", i)]
    content[starts[6] : starts[6] + 40] = bytes(40)
    file = tmp_path / "damaged.mov"
    file.write_bytes(content)
    *answered, last = predictor.predict(file)
    assert [one.name for one in answered] == [f"{file}#{i}" for i in range(6)]
    assert last.name == str(file) and "cannot be read as a video" in last.error


def test_without_the_decoder_the_extra_is_named(run: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    said = CliRunner().invoke(app, ["predict", str(run), str(clip)])
    assert said.exit_code == 1
    assert f"{clip} is a video, and its decoder is not installed: pip install 'skipway[video]'" in said.stderr
