import matplotlib.pyplot as plt
import numpy as np
import pytest

from snnlib.nsoartc.faces import face


def test_face():
    _, ax = plt.subplots()
    values = np.random.default_rng(0).normal(size=(36, 39))
    assert face(values, [(13, 1), (6, 2)], ax, vmax=8) is ax
    image, frames = ax.images[0], ax.patches
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.get_clim() == (-8, 8)
    # Pin 13 of row 1 is the tile at the upper right, however large the tiles are.
    assert [(frame.get_x(), frame.get_y()) for frame in frames] == [(12.5, 0.5), (5.5, 1.5)]
    assert image.get_extent() == [0.5, 13.5, 3.5, 0.5]
    assert face(np.zeros((66, 286)), ax=ax).images[-1].get_clim() == (0, 1)
    with pytest.raises(ValueError, match=r"expected 3 × 13 tiles .* array \(36, 40\)"):
        face(np.zeros((36, 40)), ax=ax)
    plt.close()
