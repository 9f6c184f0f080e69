"""Every kind of file ends in its category, the quick way agrees with `decode`, and what is there twice is found."""

import io
import os
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import MakePhotos
from PIL import Image, ImageDraw, ImageEnhance

from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.data.decode import decode
from skipway.data.preprocess import for_photographs
from skipway.data.quality import cache, duplicates
from skipway.data.quality.contact_sheet import contact_sheet
from skipway.data.quality.corrupt import apply_policy, remove_images
from skipway.data.quality.inspect import inspect_image
from skipway.data.quality.issues import CATEGORIES, CheckResult, from_json, issue, to_json, with_side
from skipway.data.quality.validate import check_dataset, open_for_check
from skipway.errors import DataError, SkipwayError
from skipway.reporting.palette import palette
from tests.data import hostile

# Pillow's remarks on damaged tags, which `decode` by itself passes on.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

# What each of hostile.FILES is, by findings.CATEGORIES; "fine" has nothing to be said about it.
EXPECTED = {
    **dict.fromkeys(["good.jpg", "good.webp", "good.bmp", "good.npy", "progressive.jpg", "exif-1.jpg"], "fine"),
    **dict.fromkeys(["bad-exif.jpg", "pixel.png", "naïve-日本語.png", f"{'long' * 60}.png"], "fine"),
    **dict.fromkeys(["new\nline.png", os.fsdecode(b"stray-\xff.png"), "really-png.jpg"], "fine"),
    **dict.fromkeys(["cut-3-bytes.jpg", "cut-header.jpg", "cut-half.jpg", "cut-20.jpg", "cut-end.jpg"], "truncated"),
    **dict.fromkeys(["cut-progressive.jpg", "cut-header.png", "cut-half.png", "cut-half.gif"], "truncated"),
    **dict.fromkeys(["cut-half.webp", "cut-half.bmp", "cut-half.tif"], "truncated"),
    "empty.jpg": "empty file",
    **dict.fromkeys(["text.jpg", "page.jpg", "drawing.jpg", "archive.jpg", "document.jpg"], "not an image"),
    **dict.fromkeys(["noise.jpg", "pickle.npy"], "not an image"),
    **dict.fromkeys(["bad-crc.png", "float.tif"], "unreadable"),
    **dict.fromkeys(["bomb.png", "bomb.jpg"], "too large"),
    **dict.fromkeys(["deep-grey.png", "deep-colour.png"], "16-bit"),
    **dict.fromkeys(["print.jpg", "adobe.jpg"], "CMYK"),
    **dict.fromkeys(["palette.png", "grey-alpha.png", "alpha.png"], "transparency"),
    "bit.png": "1-bit",
    "grey.jpg": "grey",
    **dict.fromkeys(["moving.gif", "moving.webp", "moving.png"], "animated"),
    "pages.tif": "pages",
    "profile.jpg": "fine",  # it is sRGB's
    **{f"exif-{i}.jpg": "turned" for i in range(2, 9)},
    **dict.fromkeys(["line.png", "strip.jpg"], "thin"),
    "trailing.jpg": "data behind the picture",
    "scrambled.jpg": "damaged",
}
# What lies beside the files, or is said of a file's name.
BESIDE = {
    **dict.fromkeys(["loop-a.jpg", "loop-b.jpg", "broken.jpg"], "missing file"),
    **dict.fromkeys(["pipe.jpg", "endless.jpg"], "not a file"),
    "folder.jpg": "folder like an image",
    "elsewhere": "link not followed",
    ".hidden.jpg": "hidden file",
    "Thumbs.db": "ignored file",
    "new\\nline.png": "odd name",
    "stray-\\udcff.png": "odd name",
    "really-png.jpg": "wrong ending",
}


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "hostile"
    hostile.populate(root / "odd")
    (root / "plain").mkdir()
    (root / "plain" / "a.png").write_bytes(hostile.encoded(hostile.photo(99), "PNG"))
    return root


@pytest.fixture(scope="module")
def hostile_examination(hostile_folder: Path) -> CheckResult:
    dataset, layout = open_for_check(str(hostile_folder))
    found = check_dataset(dataset, reuse=False)
    return replace(found, findings=(*layout, *found.findings))


def seen_as_bytes(content: bytes, name: str) -> set[str]:
    """The categories of an image in memory."""
    found = inspect_image(content, 3, name)
    categories = {pair[0] for pair in (found.fault, found.remark) if pair}
    if found.kind:
        categories |= set(found.kind.traits)
    return categories | ({"thin"} if max(found.width, found.height) > 4 * min(found.width, found.height) else set())


def reads(item: Path | bytes) -> bool:
    try:
        decode(item, 3, "x")
    except DataError:
        return False
    return True


def test_the_table_names_every_hostile_file_and_only_known_categories() -> None:
    beside = {".hidden.jpg", "Thumbs.db"}
    assert set(EXPECTED) == set(hostile.FILES) - beside
    assert {*EXPECTED.values(), *BESIDE.values()} - {"fine"} <= set(CATEGORIES)
    assert len(EXPECTED) + len(BESIDE) >= 40


@pytest.mark.parametrize("name", EXPECTED, ids=lambda name: name.encode("unicode_escape").decode()[:30])
def test_every_kind_ends_in_its_category_and_reads_as_decode_says(name: str, tmp_path: Path) -> None:
    content = hostile.FILES[name]()
    categories = seen_as_bytes(content, name)
    assert (EXPECTED[name] in categories) if EXPECTED[name] != "fine" else not categories
    (tmp_path / name).write_bytes(content)
    for item in (content, tmp_path / name):
        assert (inspect_image(item, 3, "x").fault is None) == reads(item)
    one = inspect_image(content, 3, "x")
    if one.fault is None:
        assert (one.height, one.width) == tuple(decode(content, 3, "x").shape[1:]), "sizes are those of upright images"


def test_the_folder_is_examined_whole_and_each_finding_names_its_file(hostile_examination: CheckResult) -> None:
    said: dict[str, str] = {}
    for one in hostile_examination.findings:
        said[one.category] = f"{said.get(one.category, '')} {one.name} {one.detail}"
    shown = {name: category for name, category in EXPECTED.items() if CATEGORIES.get(category) and category != "turned"}
    for name, category in (shown | BESIDE).items():
        assert f"odd/{name}" in said[category], f"{name} is {category}"
    beside = ["loop-a", "loop-b", "broken", "pipe", "endless", "locked", "folder.jpg/inner", "plain/a"]
    assert hostile_examination.images == len(EXPECTED) + len(beside)
    assert "odd/good.jpg" not in " ".join(said.values())


def test_no_image_changes_its_label_and_those_left_out_are_named(
    hostile_folder: Path, hostile_examination: CheckResult
) -> None:
    dataset, _ = open_for_check(str(hostile_folder))
    left = apply_policy(dataset, hostile_examination, "skip")
    bad = {name for name, _ in left.left_out}
    assert len(left.train) + len(bad) == len(dataset.train)
    for item, label, name in zip(left.train.items, left.train.labels, left.train.names, strict=True):
        assert name not in bad
        assert reads(item)
        assert left.classes[label] == name.split("/")[0]
    assert dict(left.left_out)["odd/text.jpg"] == "not an image: is text"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_said_to_be_so(hostile_examination: CheckResult) -> None:
    assert [f.name for f in hostile_examination.findings if f.category == "no permission"] == ["odd/locked.jpg"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not tell the peak of memory")
def test_memory_stays_bounded_on_bombs_pipes_and_endless_devices(hostile_folder: Path) -> None:
    dataset, _ = open_for_check(str(hostile_folder))

    def memory(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    check_dataset(dataset, reuse=False)
    assert memory("VmHWM") - before < 100, "MiB; the bombs claim 7,500 and 12,700, and /dev/zero has no end"


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}], ids=str
)
def test_what_the_quick_way_accepts_decode_accepts_wherever_a_file_is_cut_or_hurt(options: dict) -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    refused = 0
    for mode in ("RGB", "L"):
        whole = hostile.encoded(hostile.photo(5, 90, 70, mode), "JPEG", exif=exif, **options)
        cuts = [whole[:cut] for cut in (*rng.integers(2, len(whole), 60), *range(len(whole) - 6, len(whole)))]
        hurt = []
        for _ in range(100):
            content = bytearray(whole)
            for place in rng.integers(2, len(content), 2):
                content[place] = rng.integers(256)
            hurt.append(bytes(content))
        for content in (*cuts, *hurt):
            assert (inspect_image(content, 3, "x").fault is None) == reads(content)
            refused += not reads(content)
    assert refused > 100


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_small_grey_copy_is_upright(orientation: int) -> None:
    content = hostile.turned(orientation)
    quick = inspect_image(content, 3, "x")
    upright = decode(content, 3, "x").permute(1, 2, 0).numpy()
    again = inspect_image(hostile.encoded(Image.fromarray(upright), "PNG"), 3, "x")
    small = duplicates.thumbnails(duplicates.fine_copies([quick.grey, again.grey])).astype(float)
    assert np.abs(small[0] - small[1]).max() < 6


# ---------------------------------------------------------------------------------------------------------------------
# What is there twice


def test_cells_are_means_over_equal_areas() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    expected = pixels.repeat(9, 0).repeat(9, 1).reshape(9, 50, 9, 70).mean((1, 3))
    np.testing.assert_allclose(duplicates.thumbnails(duplicates.fine_copies([pixels]))[0], expected, atol=0.51)


def test_pairs_that_agree_in_a_band_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 4, (300, duplicates.BANDS), dtype=np.uint16)
    agree = (bands[:, None, :] == bands[None, :, :]).any(2)
    bits = np.unpackbits(bands.view(np.uint8), axis=1).astype(int)
    differ = (bits[:, None, :] != bits[None, :, :]).sum(2)
    monkeypatch.setattr(duplicates, "REACH", 300)
    found = {tuple(pair) for pair in duplicates.candidates(bands).tolist()}
    near = agree & (differ <= duplicates.MAX_SIGNS)
    assert found == {(i, j) for j in range(300) for i in range(j) if near[i, j]}
    assert len(found) > 1000


def test_the_work_of_finding_pairs_is_bounded_where_all_images_are_one() -> None:
    bands = np.zeros((1000, duplicates.BANDS), np.uint16)
    assert len(duplicates.candidates(bands)) < 1000 * duplicates.REACH
    assert len(duplicates.connected_groups(duplicates.candidates(bands))) == 1


def altered(image: Image.Image) -> dict[str, bytes]:
    """One picture as others save it."""
    larger = image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS)
    return {
        "again.jpg": hostile.encoded(image, "JPEG", quality=40),
        "larger.png": hostile.encoded(larger, "PNG"),
        "darker.webp": hostile.encoded(ImageEnhance.Brightness(image).enhance(0.8), "WEBP", quality=80),
    }


def write(root: Path, **files: bytes) -> Path:
    """Files below `root`; "__" in a keyword stands for a slash, and the last "_" for the dot."""
    for key, content in files.items():
        path = root / ".".join(key.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def categories(found: CheckResult) -> dict[str, list[str]]:
    held: dict[str, list[str]] = {}
    for one in found.findings:
        held.setdefault(one.category, []).append(one.name)
    return held


def examined(root: Path) -> CheckResult:
    dataset, layout = open_for_check(str(root))
    found = check_dataset(dataset, reuse=False)
    return replace(found, findings=(*layout, *found.findings))


def test_copies_are_duplicates_leaks_or_conflicts_by_where_they_lie(tmp_path: Path) -> None:
    one, two, three, four = (hostile.encoded(hostile.photo(i), "PNG") for i in range(100, 104))
    root = write(
        tmp_path / "set",
        train__a__one_png=one,
        train__a__same_png=one,
        train__a__two_png=two,
        test__a__two_png=two,
        train__a__three_png=three,
        train__b__three_png=three,
        train__b__four_png=four,
        test__b__x_png=hostile.encoded(hostile.photo(104), "PNG"),
    )
    assert categories(examined(root)) == {
        "duplicate": ["train/a/one.png"],
        "leak": ["train/a/two.png"],
        "conflict": ["train/a/three.png"],
    }


def test_a_picture_saved_anew_is_near_and_others_are_not(tmp_path: Path) -> None:
    for i in range(12):
        content = hostile.encoded(hostile.photo(200 + i, 200, 150), "JPEG")
        write(tmp_path / "set", **{f"{'ab'[i % 2]}__{i}_jpg": content})
    for name, content in altered(hostile.photo(200, 200, 150)).items():
        (tmp_path / "set" / "a" / name).write_bytes(content)
    (near,) = (f for f in examined(tmp_path / "set").findings if f.category.startswith("near"))
    assert near.category == "near duplicate"
    assert near.count == 3
    for name in ("a/0.jpg", "a/again.jpg", "a/larger.png", "a/darker.webp"):
        assert name in near.detail


def test_flat_and_tiny_images_are_not_said_to_be_alike(tmp_path: Path) -> None:
    for i in range(6):
        flat = Image.new("RGB", (40, 40), (40 * i, 200, 30))
        write(tmp_path / "set", **{f"{'ab'[i % 2]}__{i}_png": hostile.encoded(flat, "PNG")})
    assert not any(f.category.startswith("near") for f in examined(tmp_path / "set").findings)
    assert not any(
        f.category.startswith("near") for f in check_dataset(open_dataset("digits"), 1, reuse=False).findings
    )


def of_arrays(pixels: np.ndarray) -> Dataset:
    """uint8 (n, H, W, C) as a data set of one split, two classes in turn."""
    names = [f"i{i}" for i in range(len(pixels))]
    return Dataset("s", ("a", "b"), Split(pixels, np.arange(len(pixels)) % 2, names))


def pen_strokes(count: int, side: int) -> np.ndarray:
    """White strokes of every slant, thickness and place on black, uint8 (count, side, side, 1), no two the same."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(count):
        image = Image.new("L", (112, 112))
        slant, middle = rng.uniform(-25, 25), rng.uniform(52, 60)
        line = [(middle + slant, rng.uniform(12, 22)), (middle - slant, rng.uniform(90, 100))]
        ImageDraw.Draw(image).line(line, fill=255, width=int(rng.integers(8, 16)))
        drawn.append(np.asarray(image.resize((side, side), Image.Resampling.BOX)))
    return np.stack(drawn)[..., None]


@pytest.mark.parametrize("side", [28, 112])
def test_strokes_on_an_even_ground_are_not_said_to_be_alike_at_any_size(side: int) -> None:
    found = check_dataset(of_arrays(pen_strokes(300, side)), 1, reuse=False)
    assert not any(f.category.startswith("near") for f in found.findings)


def test_handwritten_digits_of_mnist_are_not_said_to_be_alike(shared_data: Path) -> None:
    whole = open_dataset(str(shared_data / "mnist" / "test.parquet"))
    part = replace(whole, train=whole.train.take(np.arange(3000)))
    found = check_dataset(part, reuse=False)
    assert found.images == 3000
    assert not any(f.category.startswith("near") for f in found.findings)


def test_real_photographs_are_found_again_however_they_were_saved(shared_data: Path) -> None:
    originals = [Image.open(file).convert("RGB") for file in sorted((shared_data / "photos").glob("*.JPEG"))[:24]]
    for picture in originals:
        picture.thumbnail((200, 200))
    items = [hostile.encoded(picture, "PNG") for picture in originals]
    items += [copy for picture in originals for copy in altered(picture).values()]
    names = [f"i{i}" for i in range(len(items))]
    found = check_dataset(Dataset("s", ("a", "b"), Split(items, np.zeros(len(items), np.int64), names)), reuse=False)
    groups = [f for f in found.findings if f.category == "near duplicate"]
    assert sum(f.count for f in groups) >= 0.97 * len(items) * 3 / 4
    assert all(f.count <= 3 for f in groups), "no two pictures are taken for one"


@pytest.mark.parametrize("side", [8, 28, 200])
def test_equal_pixels_are_found_at_every_size_and_however_little_is_to_be_seen(side: int, tmp_path: Path) -> None:
    def stroke(slant: int) -> Image.Image:
        rows = np.arange(side)
        pixels = np.zeros((side, side), np.uint8)
        pixels[rows, (rows * slant // 4 + side // 4).clip(0, side - 1)] = 255
        return Image.fromarray(pixels)

    write(
        tmp_path / "set",
        a__one_png=hostile.encoded(stroke(1), "PNG"),
        a__again_bmp=hostile.encoded(stroke(1), "BMP"),
        b__other_png=hostile.encoded(stroke(2), "PNG"),
    )
    near = [f for f in examined(tmp_path / "set").findings if "duplicate" in f.category]
    assert [(f.category, f.name, f.count) for f in near] == [("near duplicate", "a/again.bmp", 1)]


def test_detail_is_told_at_any_contrast() -> None:
    rich = [np.asarray(hostile.photo(i, 90, 70, "L")) for i in range(6)]
    faint = [(one * 0.3 + 90).astype(np.uint8) for one in rich]
    lone = np.zeros((70, 90), np.uint8)
    lone[20:50, 40:46] = 255
    copies = duplicates.fine_copies([*rich, *faint, lone])
    assert duplicates.has_detail(copies).tolist() == [True] * 12 + [False]


def test_images_of_several_labels_conflict_only_when_the_labels_differ() -> None:
    pixels = np.stack([np.asarray(hostile.photo(i)) for i in (0, 0, 1, 1)])
    labels = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], np.uint8)
    dataset = Dataset("tags", ("x", "y", "z"), Split(pixels, labels, ["p", "q", "r", "s"]))
    held = categories(check_dataset(dataset, reuse=False))
    assert held["duplicate"] == ["p"]
    assert held["conflict"] == ["r"]


# ---------------------------------------------------------------------------------------------------------------------
# Folders, classes, sizes


def test_every_fault_of_a_layout_is_listed_where_training_stops_at_the_first(tmp_path: Path) -> None:
    pictures = iter(hostile.encoded(hostile.photo(300 + i), "PNG") for i in range(9))
    root = write(
        tmp_path / "set",
        train__a__1_png=next(pictures),
        train__b__2_png=next(pictures),
        train__none__notes_txt=b"text",
        test__a__3_png=next(pictures),
        test__strange__4_png=next(pictures),
        loose_png=next(pictures),
    )
    (root / "val" / "a").mkdir(parents=True)
    with pytest.raises(DataError):
        open_dataset(str(root))
    found = examined(root)
    held = categories(found)
    assert held["empty class"] == ["none"]
    assert held["unknown class"] == ["strange"]
    assert held["empty split"] == [str(root / "val")]
    assert held["layout"] == [str(root)]
    assert "test: b" in next(f.detail for f in found.findings if f.category == "missing class" and "test" in f.name)
    assert found.images == 4, "the images of the unknown class are looked at too"


def test_a_link_to_the_folder_above_is_no_class(tmp_path: Path, make_photos: MakePhotos) -> None:
    root = make_photos(tmp_path / "set", each=2)
    (root / "zz").symlink_to("..", target_is_directory=True)
    with pytest.raises(DataError, match="zz links to a folder that contains it"):
        open_dataset(str(root))
    assert "link loop" in categories(examined(root))


def test_uneven_classes_and_small_images_are_said(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 30, 3), dtype=np.uint8)
    labels = np.array([0] * 22 + [1] * 2)
    found = check_dataset(Dataset("s", ("many", "few", "none"), Split(pixels, labels, [f"n{i}" for i in range(24)])))
    assert categories(found) == {"missing class": ["train: none"], "imbalance": ["few"]}
    assert found.sides == {30: 24}
    assert found.natural_side() == 30
    assert with_side(found, 30) == found
    small = with_side(found, 224).findings[-1]
    assert (small.category, small.count) == ("small", 24)
    assert "24 of 24 images have a shorter side below 224" in small.detail


def test_the_numbers_are_those_of_a_plain_loop(photo_folder: Path) -> None:
    found = check_dataset(open_dataset(str(photo_folder)), reuse=False)
    sizes = []
    for file in photo_folder.rglob("*.jpg"):
        with Image.open(file) as image:
            sizes.append(image.size)
    assert found.images == len(sizes) == 24
    assert found.sides == {side: [min(s) for s in sizes].count(side) for side in sorted({min(s) for s in sizes})}
    assert found.formats == {"JPEG": 24}
    assert found.modes == {"RGB": 24}
    assert found.counts == {"train": {"across": 8, "down": 8, "slant": 8}}
    assert not found.of("fault")


def test_real_photographs_and_cifar_are_read_as_decode_reads_them(shared_data: Path) -> None:
    found = examined(shared_data / "photos")
    assert found.images == 200
    assert found.modes == {"RGB": 197, "L": 3}
    assert not found.bad
    assert not [f for f in found.findings if "duplicate" in f.category]
    cifar = open_dataset(str(shared_data / "cifar10" / "test.parquet"))
    found = check_dataset(cifar, reuse=False)
    assert (found.images, found.formats, found.bad) == (10_000, {"JPEG": 10_000}, ())
    assert all(cifar.train.counts(10) == list(found.counts["train"].values()))


# ---------------------------------------------------------------------------------------------------------------------
# Kept results


def test_a_result_is_kept_until_a_file_a_name_or_a_label_changes(tmp_path: Path, make_photos: MakePhotos) -> None:
    root = make_photos(tmp_path / "set", each=2)
    dataset = open_dataset(str(root))
    first = check_dataset(dataset)
    assert not first.reused
    again = check_dataset(open_dataset(str(root)))
    assert again.reused
    assert again == first
    relabelled = replace(dataset, train=replace(dataset.train, targets=1 - np.minimum(dataset.train.labels, 1)))
    assert not check_dataset(relabelled).reused
    file = root / "down" / "down-0.jpg"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert not check_dataset(dataset).reused
    file.rename(file.with_name("other.jpg"))
    assert not check_dataset(open_dataset(str(root))).reused
    assert "unchanged" in again.summary()
    assert not list(root.rglob("*.json")), "nothing is written beside the data"


def test_images_in_memory_are_known_by_their_content_and_parquet_by_its_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    dataset = Dataset("s", ("a", "b"), Split(pixels, np.array([0, 1, 0, 1]), list("wxyz")))
    check_dataset(dataset)
    assert check_dataset(dataset).reused
    changed = pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    assert not check_dataset(replace(dataset, train=replace(dataset.train, items=changed))).reused


def test_a_kept_result_that_was_damaged_is_made_anew(photo_folder: Path) -> None:
    dataset = open_dataset(str(photo_folder))
    fresh = check_dataset(dataset)
    key = cache.key_of(dataset, [cache.status_of(item) for item in dataset.train.items], 3)
    assert cache.load(key) == fresh
    cache.file_of(key).write_text('{"name": "half')
    assert not check_dataset(dataset).reused


def test_a_cache_that_cannot_be_written_does_no_harm(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path / "file"))
    assert check_dataset(open_dataset(str(photo_folder))).images == 24


def test_an_examination_survives_json(hostile_examination: CheckResult) -> None:
    assert from_json(to_json(hostile_examination)) == hostile_examination


# ---------------------------------------------------------------------------------------------------------------------
# What becomes of bad images


@pytest.fixture
def broken(tmp_path: Path, make_photos: MakePhotos) -> Path:
    """3 classes of 3 photographs, two of them cut."""
    root = make_photos(tmp_path / "set", each=3)
    for name in ("across/across-1.jpg", "slant/slant-2.jpg"):
        (root / name).write_bytes((root / name).read_bytes()[:-200])
    return root


def test_error_names_the_count_the_first_file_and_the_way_out(broken: Path) -> None:
    dataset = open_dataset(str(broken))
    with pytest.raises(DataError, match=r"2 in all, the first: across/across-1\.jpg cannot be read .*--bad skip"):
        apply_policy(dataset, check_dataset(dataset), "error")


def test_skip_leaves_them_out_and_leaves_them_where_they_are(broken: Path) -> None:
    dataset = open_dataset(str(broken))
    left = apply_policy(dataset, check_dataset(dataset), "skip")
    assert [name for name, _ in left.left_out] == ["across/across-1.jpg", "slant/slant-2.jpg"]
    assert left.train.counts(3).tolist() == [2, 3, 2]
    assert len(list(broken.rglob("*.jpg"))) == 9
    assert apply_policy(left, check_dataset(left), "error") is left


def test_quarantine_moves_them_beside_the_data_with_a_list(broken: Path) -> None:
    dataset = open_dataset(str(broken))
    hurt = {name: (broken / name).read_bytes() for name in ("across/across-1.jpg", "slant/slant-2.jpg")}
    left = apply_policy(dataset, check_dataset(dataset), "quarantine")
    beside = broken.with_name("set-quarantine")
    assert {name: (beside / name).read_bytes() for name in hurt} == hurt
    assert open_dataset(str(broken)).train.names == left.train.names
    rows = (beside / "list.csv").read_text().splitlines()
    assert rows[0] == "file,why"
    assert [row.split(",")[0] for row in rows[1:]] == list(hurt)
    assert "truncated" in rows[1]


def test_quarantine_replaces_nothing_and_then_moves_nothing(broken: Path) -> None:
    dataset = open_dataset(str(broken))
    taken = broken.with_name("set-quarantine") / "slant" / "slant-2.jpg"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"earlier")
    with pytest.raises(SkipwayError, match=r"slant-2\.jpg already exists"):
        apply_policy(dataset, check_dataset(dataset), "quarantine")
    assert taken.read_bytes() == b"earlier"
    assert len(list(broken.rglob("*.jpg"))) == 9


def test_quarantine_is_refused_for_images_that_are_no_files() -> None:
    pictures = [hostile.JPEG, b"text", hostile.encoded(hostile.photo(50), "JPEG")]
    dataset = Dataset("x.parquet", ("a", "b"), Split(pictures, np.array([0, 0, 1]), ["r0", "r1", "r2"]))
    with pytest.raises(SkipwayError, match=r"x\.parquet is not one: use --bad skip"):
        apply_policy(dataset, check_dataset(dataset), "quarantine")
    assert apply_policy(dataset, check_dataset(dataset), "skip").left_out == (("r1", "not an image: is text"),)


def test_a_class_or_split_that_loses_its_last_image_is_refused() -> None:
    items = [hostile.JPEG, hostile.PNG, b"text"]
    split = Split(items, np.array([0, 0, 1]), ["x", "y", "z"])
    dataset = Dataset("s", ("a", "b"), split)
    with pytest.raises(DataError, match="s has no readable images of b"):
        remove_images(dataset, check_dataset(dataset).bad)
    dataset = replace(dataset, train=split.take(np.array([0, 1])), test=split.take(np.array([2])))
    with pytest.raises(DataError, match="s has no readable images in test"):
        remove_images(dataset, check_dataset(dataset).bad)


def test_an_item_that_its_file_does_not_give_is_a_fault_by_name() -> None:
    class Torn(list):
        def __getitem__(self, index: int) -> bytes:
            if index == 1:
                raise DataError("shard.tar is cut short")
            return super().__getitem__(index)

    dataset = Dataset("s", ("a", "b"), Split(Torn([hostile.JPEG, b"", hostile.PNG]), np.array([0, 1, 1]), list("xyz")))
    (bad,) = check_dataset(dataset, reuse=False).bad
    assert (bad.name, bad.why) == ("y", "unreadable: shard.tar is cut short")


def test_examining_leaves_the_process_as_it_was(photo_folder: Path) -> None:
    filters, threads = list(warnings.filters), threading.active_count()
    check_dataset(open_dataset(str(photo_folder)), reuse=False)
    check_dataset(open_dataset("digits"), reuse=False)
    assert list(warnings.filters) == filters
    assert threading.active_count() == threads


# ---------------------------------------------------------------------------------------------------------------------
# The contact sheet


def test_the_sheet_shows_pixels_as_the_network_sees_them(photo_folder: Path) -> None:
    dataset = open_dataset(str(photo_folder))
    for fit in ("crop", "pad", "squash"):
        record = replace(for_photographs(72), fit=fit)
        sheet = np.asarray(contact_sheet(dataset, record, palette(2)))
        seen = record.open(dataset.train.items[0], "x").permute(1, 2, 0).numpy()
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (72, 72, 3))[:, 6, 0]
        assert (windows == seen).all((1, 2, 3)).sum() == 1, "the first tile, at the left margin, to the pixel"


def test_the_sheet_says_what_cannot_be_read_and_how_many_classes_it_does_not_show(broken: Path) -> None:
    sheet = np.asarray(contact_sheet(open_dataset(str(broken)), for_photographs(64), palette(3)))
    assert (sheet == (190, 30, 30)).all(2).sum() > 100, "in red"
    with pytest.raises(DataError, match="no training images"):
        contact_sheet(Dataset("s", ("a",), Split([], np.array([], np.int64), [])), for_photographs(64), palette(1))


def test_names_of_findings_print_on_one_line() -> None:
    one = issue("odd name", "a\nb\x1b[31m\udcff", "é")
    assert one.name == "a\\nb\\x1b[31m\\udcff"
    assert one.detail == "é"
    io.StringIO().write(one.name)
    one.name.encode()


def test_the_quick_way_reads_most_of_a_folder_of_photographs(
    monkeypatch: pytest.MonkeyPatch, photo_folder: Path
) -> None:
    judged = []
    monkeypatch.setattr("skipway.data.quality.inspect.decode", lambda *given: judged.append(given) or decode(*given))
    check_dataset(open_dataset(str(photo_folder)), reuse=False)
    assert not judged, "a sound photograph is not decoded in full"
