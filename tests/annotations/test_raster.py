"""Which pixels an outline covers, against point-in-polygon by hand, shapely and pycocotools."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.annotations.raster import cover, ellipse
from medseg.annotations.rle import decode, from_text
from medseg.errors import UserError

SIDE = 16
BOX = (0, 0, SIDE, SIDE)
rings = st.lists(
    st.tuples(st.integers(-40, 160), st.integers(-40, 160)), min_size=3, max_size=9
).map(lambda points: np.array(points, np.float64) / 8)
masks = arrays(
    np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 1)
)


def inside(ring, x, y):
    """Even-odd rule; a point on an edge belongs to what is right of and below it."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, 0), strict=True):
        if (y1 <= y) != (y2 <= y) and x1 + (y - y1) * (x2 - x1) / (y2 - y1) <= x:
            crossings += 1
    return crossings % 2 == 1


@settings(max_examples=60, deadline=None)
@given(rings)
def test_a_pixel_is_covered_where_its_centre_is_inside(ring):
    covered, _ = cover((ring,), BOX)
    expected = [[inside(ring, x + 0.5, y + 0.5) for x in range(SIDE)] for y in range(SIDE)]
    assert (covered == np.array(expected)).all()


@settings(max_examples=60, deadline=None)
@example(
    np.array([(0, 0), (1, 120), (115, 0)], np.float64) / 8,
    np.array([(0, 0), (0, -1), (46, 73)], np.float64) / 8,
)
@given(rings, rings)
def test_shapely_agrees_with_holes(ring, hole):
    shapely = pytest.importorskip("shapely")
    outer, inner = shapely.Polygon(ring), shapely.Polygon(hole)
    if not (outer.is_valid and inner.is_valid):
        return
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    covered, _ = cover((ring, hole), BOX)
    within = shapely.contains_xy(outer, x, y) & ~shapely.contains_xy(inner, x, y)
    # each outline by itself: where they meet, a union of them has corners that are rounded
    on_edge = shapely.intersects_xy(outer.boundary, x, y)
    on_edge |= shapely.intersects_xy(inner.boundary, x, y)
    assert (covered == within)[~on_edge].all()


def test_a_figure_of_eight_crosses_itself_and_a_square_does_not():
    square = np.array([(2, 2), (12, 2), (12, 12), (2, 12)], np.float64)
    assert not cover((square,), BOX)[1]
    covered, crosses = cover((square[[0, 2, 1, 3]],), BOX)
    assert crosses and covered.any()
    assert cover((np.concatenate([square, square]),), BOX)[1]


def test_shapes_with_a_common_edge_share_no_pixel():
    left = np.array([(0, 0), (8.5, 0), (8.5, 16), (0, 16)])
    right = np.array([(8.5, 0), (16, 0), (16, 16), (8.5, 16)])
    total = cover((left,), BOX)[0].astype(int) + cover((right,), BOX)[0]
    assert (total == 1).all()


@settings(max_examples=60, deadline=None)
@given(masks)
def test_contours_of_opencv_give_back_their_mask(mask):
    mask = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    found = np.zeros(mask.shape, bool)
    for at, contour in enumerate(contours):
        if tree[0][at][3] < 0:
            holes = [each for i, each in enumerate(contours) if tree[0][i][3] == at]
            part = tuple(each[:, 0].astype(float) for each in (contour, *holes))
            found |= cover(part, (0, 0, *mask.shape[::-1]), centres=True)[0]
    assert (found == (mask > 0)).all()


def test_an_ellipse_has_its_area():
    covered, crosses = cover((ellipse(100, 80, 60, 40, 30),), (0, 0, 200, 160))
    assert not crosses
    assert covered.sum() == pytest.approx(np.pi * 60 * 40, rel=0.002)


@settings(max_examples=60, deadline=None)
@given(masks)
def test_run_lengths_are_those_of_pycocotools(mask):
    oracle = pytest.importorskip("pycocotools.mask")
    encoded = oracle.encode(np.asfortranarray(mask))
    counts = from_text(encoded["counts"].decode(), "x")
    assert (decode(counts, *mask.shape, "x", by_column=True) == oracle.decode(encoded)).all()


@pytest.mark.parametrize("text", ["é", "o", "\x00"])
def test_text_that_is_no_run_lengths_is_refused(text):
    with pytest.raises(UserError):
        from_text(text, "x")


@pytest.mark.parametrize("counts", [[3], [], [5, -1, 8], [13]])
def test_runs_that_do_not_fill_the_picture_are_refused(counts):
    with pytest.raises(UserError, match="12"):
        decode(counts, 3, 4, "x", by_column=True)
