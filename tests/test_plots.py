import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from snnlib import plots


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()  # nothing in it may fail or warn when it is drawn
    plt.close(figure)


def test_pairs(ax):
    images, same = np.random.default_rng(0).random((5, 1, 4, 3)), np.arange(5) % 2 == 0
    assert plots.pairs(images, images, same, ax, columns=3) is ax
    assert len(ax.images) == 5
    frames = [to_rgb(patch.get_edgecolor()) for patch in ax.patches]
    assert frames == [to_rgb(plots.SAME if alike else plots.DIFFERENT) for alike in same]
    assert [text.get_text() for text in ax.texts] == ["same", "different"] * 2 + ["same"]


def test_pairs_of_different_number(ax):
    images = np.zeros((5, 1, 4, 4))
    with pytest.raises(ValueError, match="got 5 and 4 images and 5 labels"):
        plots.pairs(images, images[:4], np.ones(5, bool), ax)


def test_triplets(ax):
    three = np.random.default_rng(0).random((3, 5, 1, 4, 3))
    assert plots.triplets(*three, ax) is ax
    assert len(ax.images) == 15
    np.testing.assert_array_equal(ax.images[5].get_array(), three[1, 0, 0])
    frames = [to_rgb(patch.get_edgecolor()) for patch in ax.patches]
    colours = ["black", plots.SAME, plots.DIFFERENT]
    assert frames == [to_rgb(colour) for colour in colours for _ in range(5)]
    assert [text.get_text() for text in ax.texts] == ["anchor", "positive", "negative"]
    with pytest.raises(ValueError, match="got 5 anchors, 5 positives and 4 negatives"):
        plots.triplets(three[0], three[1], three[2, :4], ax)


def test_curves(ax):
    assert plots.curves({"training": [3, 2, 1], "validation": [3, 2.5, 2]}, ax) is ax
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2, 3]] * 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    assert ax.get_xlabel() == "epoch"


def test_scatter(ax):
    points, labels = np.random.default_rng(0).random((9, 2)), np.arange(9) % 3
    assert plots.scatter(points, labels, ["a", "b", "c"], ax) is ax
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    np.testing.assert_allclose(ax.texts[1].get_position(), np.median(points[labels == 1], axis=0))
    with pytest.raises(ValueError, match=r"expected points \(9, 2\), got \(9, 3\)"):
        plots.scatter(np.zeros((9, 3)), labels, "abc", ax)


def test_contingency(ax):
    table = np.array([[9, 1], [0, 8]])
    assert plots.contingency(table, ["a", "b"], ["x", "y"], ax) is ax
    assert [text.get_text() for text in ax.texts] == ["9", "1", "0", "8"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[1, 1 / 9], [0, 8 / 9]])
    with pytest.raises(ValueError, match=r"expected a table \(1, 2\), got \(2, 2\)"):
        plots.contingency(table, ["a"], ["x", "y"], ax)


def test_distances(ax):
    values, same = np.array([0.1, 0.2, 0.9, 1.2]), np.array([True, True, False, False])
    assert plots.distances(values, same, ax, margin=1.0) is ax
    assert sum(patch.get_height() for patch in ax.patches) == 4
    assert "margin 1" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_tiles_are_numbered_from_the_upper_left(ax):
    values = np.random.default_rng(0).normal(size=(6, 8))
    assert plots.tiled(values, (3, 4), [(4, 1), (2, 3)], ax, vmax=8) is ax
    np.testing.assert_array_equal(ax.images[0].get_array(), values)
    assert ax.images[0].get_extent() == [0.5, 4.5, 3.5, 0.5]
    assert [(frame.get_x(), frame.get_y()) for frame in ax.patches] == [(3.5, 0.5), (1.5, 2.5)]


def test_style(monkeypatch):
    with plt.rc_context():
        plots.use_style()
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"][:2] == [
            plots.SAME,
            plots.DIFFERENT,
        ]


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def test_the_two_kinds_of_pairs_can_be_read_on_white():
    for colour in (plots.SAME, plots.DIFFERENT):
        assert 1.05 / (luminance(colour) + 0.05) > 3  # contrast asked of large text by WCAG


def test_pairs_may_be_marked_by_numbers(ax):
    """~1 is -2: a wrong drawing, without a word."""
    values, same = np.array([0.1, 0.2, 0.9, 1.0]), np.array([1, 1, 0, 0])
    plots.distances(values, same, ax)
    first, second = (sum(p.get_height() for p in container) for container in ax.containers)
    assert (first, second) == (2, 2)
    near = [p.get_x() for p in ax.containers[0] if p.get_height()]
    assert max(near) < 0.3
