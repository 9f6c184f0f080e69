"""Find duplicate images, exact (byte for byte) and visual.

Visual duplicates are found by the signs of the gradients between the cells of a 9 x 9 grey thumbnail: 144 bits that
scaling and recompression hardly change (the "dHash" of N. Krawetz, 2013, in two directions). The thumbnail identifies
an image only if there is detail all over it. Of strokes on a uniform background, such as handwritten digits, it keeps
position and slant, which thousands of different images share. So images of any size in which most neighbouring cells
of an 18 x 18 copy are equal are excluded; of these only duplicates with equal pixels are found.

Libraries for such hashes decode every file again and compare all pairs; here the thumbnails come from the decoding
that the check does anyway, and only images that agree in one of the nine 16-bit bands of their signs are compared. Two
images that differ in at most 8 signs always share a band; candidate pairs are then compared by their thumbnails.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

GRID = 9  # cells per side
FINE = 2 * GRID  # cells per side of the copies in which detail is measured
MIN_STEP = 0.05  # of a copy's standard deviation, between cells that differ: less is compression noise
MIN_DETAIL = 0.5  # share of neighbouring cells that differ
BANDS = 9  # of 16 signs each
MAX_SIGNS = 16  # signs that may differ
MIN_CORRELATION = 0.97  # of the thumbnails
MIN_CONTRAST = (
    4.0  # standard deviation, in values of 0 to 255: flat images look thumbnails_match without being duplicates
)
REACH = 64  # neighbours compared within a band value that many images share

BIT_COUNTS = np.array([bin(bits).count("1") for bits in range(1 << 16)], np.uint8)


@lru_cache(512)
def area_weights(length: int) -> np.ndarray:
    """(FINE, length): weight of each of `length` pixels in each cell; rows sum to 1."""
    edges = np.linspace(0, length, FINE + 1)
    starts = np.arange(length)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (covered.clip(0) * FINE / length).astype(np.float32)


def fine_copies(greys: Sequence[np.ndarray | None]) -> np.ndarray:
    """Grey images (H, W) of any size -> float32 (n, FINE, FINE) of mean values; all 0 for None."""
    found = np.zeros((len(greys), FINE, FINE), np.float32)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for i, grey in enumerate(greys):
        if grey is not None:
            shapes.setdefault(grey.shape, []).append(i)
    for (height, width), places in shapes.items():  # images of one shape together: two matrix products for all
        stack = np.stack([greys[i] for i in places]).astype(np.float32)  # type: ignore[misc]
        found[places] = area_weights(height) @ stack @ area_weights(width).T
    return found


def thumbnails(copies: np.ndarray) -> np.ndarray:
    """Fine copies (n, FINE, FINE) -> uint8 (n, GRID, GRID) of mean values."""
    cells = copies.reshape(-1, GRID, FINE // GRID, GRID, FINE // GRID).mean((2, 4))
    return (cells + 0.5).clip(0, 255).astype(np.uint8)


def has_detail(copies: np.ndarray) -> np.ndarray:
    """bool (n,): whether at least MIN_DETAIL of the neighbouring cells of fine copies (n, FINE, FINE) differ."""
    least = np.maximum(MIN_STEP * copies.std((1, 2)), 1)[:, None, None]  # rounding leaves half a level
    across = np.abs(np.diff(copies, axis=2)) >= least
    down = np.abs(np.diff(copies, axis=1)) >= least
    return (across.mean((1, 2)) + down.mean((1, 2))) / 2 >= MIN_DETAIL


def signs(thumbs: np.ndarray) -> np.ndarray:
    """uint8 (n, GRID, GRID) -> uint16 (n, BANDS); each band has signs from all over the image."""
    across = thumbs[:, :, 1:] > thumbs[:, :, :-1]
    down = thumbs[:, 1:, :] > thumbs[:, :-1, :]
    half = GRID * (GRID - 1)
    bits = np.concatenate([across.reshape(-1, half), down.reshape(-1, half)], axis=1)
    spread = bits.reshape(len(thumbs), 16, BANDS).swapaxes(1, 2)
    return np.ascontiguousarray(np.packbits(spread, axis=2)).view(np.uint16)[:, :, 0]


def candidates(bands: np.ndarray) -> np.ndarray:
    """Pairs (m, 2) of rows of `bands`, uint16 (n, BANDS), that agree in at least one band.

    If more than REACH rows share a band, only neighbours in the order of the next three bands are paired, so that the
    cost stays proportional to n.
    """
    count = len(bands)
    codes: list[np.ndarray] = []
    wide = bands.astype(np.uint64)
    for band in range(BANDS):
        after = [wide[:, (band + k) % BANDS] << np.uint64(48 - 16 * k) for k in range(4)]
        order = np.argsort(after[0] | after[1] | after[2] | after[3], kind="stable")
        key = bands[order, band]
        alive = np.arange(count)
        for reach in range(1, REACH + 1):
            alive = alive[: np.searchsorted(alive, count - reach)]
            alive = alive[key[alive] == key[alive + reach]]
            if not len(alive):
                break
            first, second = order[alive], order[alive + reach]
            near = sign_distance(bands, first, second) <= MAX_SIGNS
            low, high = np.minimum(first[near], second[near]), np.maximum(first[near], second[near])
            codes.append(low * count + high)
    unique = np.unique(np.concatenate(codes)) if codes else np.empty(0, np.int64)
    return np.stack([unique // max(count, 1), unique % max(count, 1)], axis=1)


def sign_distance(bands: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The number of signs that differ between rows `first` and rows `second`."""
    return BIT_COUNTS[bands[first] ^ bands[second]].sum(1, dtype=np.int64)


def thumbnails_match(thumbs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """bool (m,): whether `pairs` (m, 2) of thumbnails, uint8 (n, GRID, GRID), have contrast and correlate."""
    flat = thumbs.reshape(-1, GRID * GRID).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    size = np.sqrt((flat**2).mean(1))
    first, second = pairs[:, 0], pairs[:, 1]
    product = np.einsum("ij,ij->i", flat[first], flat[second]) / flat.shape[1]
    contrast = np.minimum(size[first], size[second]) >= MIN_CONTRAST
    return contrast & (product >= MIN_CORRELATION * size[first] * size[second])


def connected_groups(pairs: np.ndarray) -> list[np.ndarray]:
    """The connected components of the graph with edges `pairs` (m, 2), each in order."""
    from scipy.sparse import coo_array  # here, so that reading and predicting do not import SciPy
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    nodes, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(pairs.shape)
    graph = coo_array((np.ones(len(pairs), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes)))
    member = connected_components(graph, directed=False)[1]
    order = np.argsort(member, kind="stable")
    sets = np.split(nodes[order], np.flatnonzero(np.diff(member[order])) + 1)
    return sorted(sets, key=lambda group: int(group[0]))


def equal_digests(digests: Sequence[bytes]) -> list[np.ndarray]:
    """Groups of indices with equal digests; empty digests are ignored."""
    places: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests):
        if digest:
            places.setdefault(digest, []).append(i)
    return [np.array(found) for found in places.values() if len(found) > 1]


def equal_pairs(digests: Sequence[bytes]) -> np.ndarray:
    """Pairs (m, 2) that connect the indices with equal digests."""
    pairs = [np.stack([found[:-1], found[1:]], axis=1) for found in equal_digests(digests)]
    return np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)


def visual_duplicates(thumbs: np.ndarray, usable: np.ndarray, digests: Sequence[bytes]) -> list[np.ndarray]:
    """Groups of indices whose thumbnails, uint8 (n, GRID, GRID), match among those `usable`, bool (n,), or whose pixels
    are equal by `digests`, n of them."""
    places = np.flatnonzero(usable)
    chosen = thumbs[places]
    near = candidates(signs(chosen))
    return connected_groups(np.concatenate([places[near[thumbnails_match(chosen, near)]], equal_pairs(digests)]))
