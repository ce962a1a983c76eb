import numpy as np
import pytest

from snnlib.book.sentences import glue_text, percent


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
