import numpy as np
import pytest

from snnlib.book.sentences import glue_text, in_points, percent


@pytest.mark.parametrize(
    ("share", "digits", "words"),
    [
        (0.9734, 1, "97.3 %"),
        (0.9734, 0, "97 %"),
        (1, 2, "100.00 %"),
        (np.float32(0.5), 1, "50.0 %"),
    ],
)
def test_percent(share, digits, words):
    assert percent(share, digits) == words


def test_a_value_is_handed_to_the_text(monkeypatch):
    shown = []
    monkeypatch.setattr("myst_nb.glue", lambda *a, **k: shown.append((a, k)))
    glue_text("accuracy", "97.3 %")
    assert shown == [(("accuracy", "97.3 %"), {"display": False})]


def test_differences_in_points():
    """Mean and sample standard deviation, by hand: of 1, 2 and 3 points they are 2 and 1."""
    assert in_points([0.01, 0.02, 0.03]) == "+2.00 ± 1.00"
    assert in_points([-0.0125, -0.0025]) == "−0.75 ± 0.71"
    assert in_points([-0.01001, 0.01]) == "+0.00 ± 1.41"
