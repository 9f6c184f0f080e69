"""`skipway search`, `probe`, `review` and `select` as people type them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typed import refused

from skipway.commands.probe import probe
from skipway.commands.review import review
from skipway.deploy.predict.predictor import Predictor
from skipway.hardware import decide

CPU = decide("cpu")


def test_an_image_finds_its_copy_first_in_a_file_and_in_a_folder(skipway, run: Path, write_images) -> None:
    files = write_images(12)
    Image.open(files[7]).save("query.png")
    assert skipway("embed", str(run), "new", "--out", "new.parquet")[0] == 0
    stored = skipway("search", "new.parquet", "query.png", "--top", "3", "--json")
    fresh = skipway("search", str(run), "query.png", "--in", "new", "--top", "3", "--json")
    assert stored[:2] == fresh[:2]
    rows = [json.loads(line) for line in stored[1].splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert (rows[0]["image"], rows[0]["query"]) == ("new/007.png", "query.png")
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-6)


def test_similarities_are_cosines_of_the_predictors_embeddings(skipway, run: Path, write_images) -> None:
    files = write_images(6)
    code, _, _ = skipway("search", str(run), "new/000.png", "new/001.png", "--in", "new", "--csv", "found.csv")
    assert code == 0
    vectors = Predictor(run, CPU).embed(files).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = list(csv.DictReader(Path("found.csv").read_text().splitlines()))
    assert len(rows) == 12
    for row in rows:
        one, other = (int(Path(row[key]).stem) for key in ("query", "image"))
        assert float(row["similarity"]) == pytest.approx(vectors[one] @ vectors[other], abs=1e-5)


def test_a_page_shows_the_query_and_what_was_found(skipway, run: Path, write_images) -> None:
    write_images(4)
    code, _, _ = skipway("search", str(run), "new/000.png", "--in", "new", "--top", "2", "--html", "page.html")
    page = Path("page.html").read_text()
    assert code == 0
    assert page.count("data:image/webp;base64,") == 3
    assert "new/000.png" in page


def test_what_cannot_be_searched_is_refused_in_one_line(skipway, run: Path, write_images, monkeypatch) -> None:
    write_images(2)
    refused(skipway("search", str(run), "new/000.png"), "--in")
    skipway("embed", str(run), "new", "--out", "new.parquet")
    refused(skipway("search", "new.parquet", "new/000.png", "--in", "new"), "leave out --in")
    refused(skipway("search", "gone.parquet", "new/000.png"), "cannot be read")
    Path("bad.png").write_text("no image")
    refused(skipway("search", "new.parquet", "bad.png"), "bad.png")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    refused(skipway("search", "new.parquet", "-"), "name at least one")


def test_embeddings_of_a_network_that_was_changed_are_refused(skipway, run: Path, write_images, tmp_path: Path) -> None:
    import shutil

    import torch

    from skipway import bundle

    write_images(2)
    shutil.copytree(run, tmp_path / "mine")
    assert skipway("embed", "mine", "new", "--out", "new.parquet")[0] == 0
    card, weights = bundle.read_card(tmp_path / "mine"), bundle.read_weights(tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    bundle.write(tmp_path / "mine", {k: v + 1 if v.dtype == torch.float32 else v for k, v in weights.items()}, card)
    refused(skipway("search", "new.parquet", "new/000.png"), "embed its images again")
    shutil.rmtree(tmp_path / "mine")
    refused(skipway("search", "new.parquet", "new/000.png"), "new.parquet was embedded by mine")


# probe


def test_colours_are_told_apart_by_both_classifiers(run: Path, labelled: Path) -> None:
    found = {one.classifier: one for one in probe(labelled, run, hardware=CPU)}
    assert set(found) == {"linear", "nearest neighbours"}
    for one in found.values():
        assert one.split == "val"
        assert one.accuracy > 0.7
        assert one.low < one.accuracy <= one.high
        assert one.n + one.train == 72


def test_probing_prints_a_table_and_json(skipway, run: Path, labelled: Path) -> None:
    code, out, _ = skipway("probe", "data", "--model", str(run))
    assert code == 0
    assert "nearest neighbours" in out
    lines = skipway("probe", "data", "--model", str(run), "--json")[1].splitlines()
    assert [json.loads(line)["classifier"] for line in lines] == ["linear", "nearest neighbours"]


def test_images_without_classes_are_not_probed(skipway, run: Path, write_images) -> None:
    write_images(3)
    refused(skipway("probe", "new", "--model", str(run)), "class")


def test_images_of_one_class_alone_are_not_probed(skipway, run: Path, write_images) -> None:
    write_images(5, "data/red")
    refused(skipway("probe", "data", "--model", str(run)), "one class")


# review


def test_planted_errors_copies_and_strangers_are_found(run: Path, labelled: Path) -> None:
    Image.open(labelled / "blue" / "03.png").save(labelled / "blue" / "zz-copy.png")
    Image.new("RGB", (20, 18), "white").save(labelled / "red" / "white.png")
    found = review(labelled, run, 0.9999, hardware=CPU)
    errors = found.of("label error")
    assert {one.image for one in errors[:2]} == {"green/05.png", "green/11.png"}
    assert {(one.label, one.suggested) for one in errors[:2]} == {("green", "red")}
    assert {one.image for one in found.of("near duplicate")} == {"blue/03.png", "blue/zz-copy.png"}
    assert found.of("outlier")[0].image == "red/white.png"
    assert found.remark == ""


def test_a_folder_without_classes_is_reviewed_without_labels(skipway, run: Path, write_images) -> None:
    files = write_images(9)
    files[4].write_text("no image")
    Image.open(files[1]).save("new/copy.png")
    code, out, err = skipway("review", "new", "--model", str(run), "--csv", "r.csv", "--html", "r.html", "--json")
    assert code == 1
    assert "004.png" in err
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows == [
        {**row, "rank": int(row["rank"]), "group": int(row["group"]), "score": float(row["score"])}
        for row in csv.DictReader(Path("r.csv").read_text().splitlines())
    ]
    copies = [row["image"] for row in rows if row["finding"] == "near duplicate" and row["score"] > 0.99999]
    assert copies == ["001.png", "copy.png"]
    assert "labels were not looked at" in Path("r.html").read_text()


def test_a_review_prints_each_kind_of_finding(skipway, run: Path, labelled: Path) -> None:
    code, out, _ = skipway("review", "data", "--model", str(run), "--similarity", "0.9999", "--top", "3")
    assert code == 0
    assert all(f"{kind}s: " in out for kind in ("label error", "near duplicate", "outlier"))
    assert "green/05.png" in out


# select


def test_a_classifiers_run_selects_the_least_certain(skipway, run: Path, write_images) -> None:
    files = write_images(40)
    code, out, _ = skipway("select", str(run), "new", "--count", "3", "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    scores = Predictor(run, CPU)
    proba = np.sort(scores.predict_proba(files), axis=1)
    uncertain = {f"new/{files[i].name}" for i in np.argsort(proba[:, -1] - proba[:, -2])[:30]}
    assert {row["image"] for row in rows} <= uncertain
    assert all(row["predicted"] for row in rows)
    shown = {f"new/{file.name}": row[-1] - row[-2] for file, row in zip(files, proba, strict=True)}
    assert [row["margin"] for row in rows] == pytest.approx([shown[row["image"]] for row in rows], abs=1e-5)


def test_images_like_those_with_labels_are_not_selected(skipway, run: Path, write_images) -> None:
    write_images(5, "pool", channel=0)
    for i, file in enumerate(write_images(5, "other", channel=1, seed=1)):
        file.rename(Path("pool") / f"green-{i}.png")
    write_images(5, "known", channel=0, seed=2)
    args = ("select", "embedded", "pool", "--count", "1", "--labelled", "known", "--csv", "n.csv", "--html", "n.html")
    assert skipway(*args)[0] == 0
    [row] = csv.DictReader(Path("n.csv").read_text().splitlines())
    assert "green" in row["image"]
    assert (row["predicted"], row["margin"]) == ("", "")
    assert Path("n.html").read_text().count("data:image/webp") == 1
