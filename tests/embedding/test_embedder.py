"""Embeddings are the pooled last feature map, in the order of the images, and readable where they were written."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typed import refused

from skipway.commands.embed import open_embedder, open_model
from skipway.deploy.predict.embedder import Embedder
from skipway.deploy.predict.predictor import Predictor
from skipway.embedding.features_file import read_features
from skipway.errors import DataError, SkipwayError
from skipway.hardware import decide
from skipway.trained import TrainedModel

CPU = decide("cpu")


def test_an_embedding_is_what_the_classifier_sees(run: Path, write_images) -> None:
    files = write_images(21)  # more than a batch
    trained = TrainedModel.load(run)
    seen: list[torch.Tensor] = []
    trained.net.get_submodule("fc").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = torch.stack([trained.preprocessing.open(file, file.name) for file in files])
    with torch.inference_mode():
        trained.net(trained.preprocessing.normalised(images))
    found = Predictor(run, CPU).embed(files)
    assert found.dtype == np.float32
    assert np.allclose(found, seen[0].numpy(), atol=1e-5)


def test_an_image_has_the_same_digits_alone_and_among_others(run: Path, write_images) -> None:
    files = write_images(19)
    predictor = Predictor(run, CPU)
    together = predictor.embed(files)
    assert np.array_equal(predictor.embed(files[17])[0], together[17])
    assert np.array_equal(predictor.embed(list(reversed(files)))[::-1], together)


def test_an_unreadable_image_stops_embed_and_is_named(run: Path, write_images) -> None:
    files = write_images(3)
    files[1].write_text("no image")
    with pytest.raises(DataError, match=r"001\.png"):
        Predictor(run, CPU).embed(files)


def test_no_images_are_a_matrix_of_no_rows(run: Path) -> None:
    assert Predictor(run, CPU).embed([]).shape == (0, 64)


def test_class_scores_of_the_same_pass_are_those_of_predict(run: Path, write_images) -> None:
    files = write_images(5)
    trained = TrainedModel.load(run, CPU)
    scores = np.stack([one.scores for one in Embedder(trained, CPU, with_scores=True).stream(files)])
    expected = Predictor(run, CPU).predict_proba(files)
    assert np.allclose(torch.from_numpy(scores / trained.card.temperature).softmax(1).numpy(), expected, atol=1e-5)


def test_another_engine_agrees_with_eager(run: Path, write_images) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    files = write_images(10)
    eager, other = (open_embedder(run, CPU, name).embed(files) for name in ("eager", "openvino"))
    assert np.abs(eager - other).max() < 0.03 * np.abs(eager).max()


def test_the_engine_int8_is_refused(run: Path) -> None:
    with pytest.raises(SkipwayError, match="no embeddings"):
        open_embedder(run, CPU, "int8")


def test_the_weights_in_the_package_embed_by_their_name_and_by_their_networks(write_images) -> None:
    files = write_images(2)
    one, other = (open_embedder(name, CPU) for name in ("embedded", "resnet18d_x0_5"))
    assert one.origin == other.origin
    assert np.array_equal(one.embed(files), other.embed(files))
    assert one.embed(files).shape == (2, 256)


def test_an_unknown_network_is_refused_with_a_close_name() -> None:
    with pytest.raises(SkipwayError, match="embedded"):
        open_model("embeded", CPU)


# files


def test_parquet_holds_every_image_and_why_one_has_no_embedding(skipway, run: Path, write_images) -> None:
    files = write_images(5)
    files[2].write_text("no image")
    code, out, err = skipway("embed", str(run), "new", "--out", "found.parquet")
    assert code == 1
    assert out.startswith("4 embeddings of ") and out.endswith(": found.parquet\n")
    assert "1 of 5 images could not be read" in err
    rows = pq.read_table("found.parquet").to_pylist()
    assert [row["image"] for row in rows] == [f"new/{file.name}" for file in files]
    assert [row["embedding"] is None for row in rows] == [False, False, True, False, False]
    assert "002.png" in rows[2]["error"]
    expected = Predictor(run, CPU).embed([file for i, file in enumerate(files) if i != 2])
    assert np.array_equal(read_features(Path("found.parquet")).vectors, expected)
    assert sorted(path.name for path in Path().iterdir()) == ["found.parquet", "new"]


def test_npy_has_the_same_rows_and_names_beside_them(skipway, run: Path, write_images) -> None:
    files = write_images(5)
    files[2].write_text("no image")
    assert skipway("embed", str(run), "new", "--out", "found.npy")[0] == 1
    found, rows = np.load("found.npy"), list(csv.DictReader(Path("found.csv").read_text().splitlines()))
    assert found.shape == (5, 64)
    assert np.isnan(found[2]).all()
    assert not np.isnan(np.delete(found, 2, 0)).any()
    assert [row["image"] for row in rows] == [f"new/{file.name}" for file in files]
    assert "002.png" in rows[2]["error"]
    assert np.array_equal(np.delete(found, 2, 0), Predictor(run, CPU).embed([*files[:2], *files[3:]]))


@pytest.mark.parametrize("name", ["there.parquet", "there.npy"])
def test_what_is_there_is_not_overwritten(skipway, run: Path, write_images, name: str) -> None:
    write_images(1)
    Path(name).write_text("mine")
    refused(skipway("embed", str(run), "new", "--out", name), "choose another --out")
    assert Path(name).read_text() == "mine"


def test_another_ending_is_refused(skipway, run: Path, write_images) -> None:
    write_images(1)
    refused(skipway("embed", str(run), "new", "--out", "found.txt"), ".parquet or .npy")


def test_parquet_of_something_else_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"image": ["a"], "embedding": [[1.0]]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="skipway embed"):
        read_features(tmp_path / "other.parquet")


def test_a_detector_is_embedded_by_its_body() -> None:
    from skipway.embedding.network import PooledFeatures, body_of
    from skipway.models import create_detector

    torch.manual_seed(0)
    net = create_detector("fcos_resnet18_light", classes=2).eval()
    images = torch.rand(1, 3, 64, 64)
    seen: list[torch.Tensor] = []
    with torch.inference_mode():
        net.get_submodule("body.layer4").register_forward_hook(lambda _, __, found: seen.append(found))
        net(images)
        assert torch.allclose(PooledFeatures(body_of(net))(images), seen[0].mean((2, 3)), atol=1e-6)


def test_outputs_that_are_not_numbers_are_errors(run: Path, write_images) -> None:
    trained = TrainedModel.load(run, CPU)
    embedder = Embedder(trained, CPU)
    with torch.no_grad():
        for values in trained.net.parameters():
            values.fill_(float("nan"))
    [found] = embedder.stream(write_images(1))
    assert found.vector is None
    assert "NaN" in found.error


def test_arrays_of_grey_images_are_embedded_by_a_network_of_colour(run: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (18, 18, 1), dtype=np.uint8)
    embedder = open_embedder(run, CPU)
    one, other = embedder.items([("grey", grey), ("colour", grey.repeat(3, 2))])
    assert one.vector is not None
    assert np.array_equal(one.vector, other.vector)
