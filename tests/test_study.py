"""The agreement study: its parts are what the page says of them."""

import numpy as np
import pytest

from snnlib.book.study import INSPECTORS, TOLERANCE, TRAINED_PINS, TRIALS, draw_study


@pytest.mark.parametrize("seed", range(5))
def test_a_third_of_fifty_parts_is_on_the_borderline(seed):
    study = draw_study(seed)
    assert len(study) == 50
    counts = study.kind.value_counts()
    assert (counts[["good", "borderline", "defective"]] >= 16).all()
    borderline = study.tolerances.between(0.6, 1.4)
    assert (borderline == (study.kind == "borderline")).all()
    assert (study.defective == (study.tolerances > 1)).all()
    assert study.defective[study.kind == "borderline"].any()
    assert not study.defective[study.kind == "borderline"].all()


def test_every_kind_has_every_direction_and_pin():
    study = draw_study(0)
    assert set(study.direction) == set(TOLERANCE)
    assert (study.groupby("kind").direction.nunique() == 3).all()
    assert (study.groupby("kind")[["pin", "row"]].nunique().to_numpy() >= 2).all()
    assert set(zip(study.pin, study.row)) == set(TRAINED_PINS)


def test_amounts_are_tolerances_in_their_unit():
    study = draw_study(1)
    assert study.amount.to_numpy() == pytest.approx(
        [row.tolerances * TOLERANCE[row.direction] for row in study.itertuples()]
    )


def test_another_seed_is_another_study():
    assert draw_study(0).equals(draw_study(0))
    assert not np.allclose(draw_study(0).amount, draw_study(1).amount)


def test_inspectors_are_people():
    assert len(INSPECTORS) == TRIALS == 3
    for inspector in INSPECTORS.values():
        assert 0 < inspector.guess < 0.2 > inspector.lapse > 0
        assert inspector.drift > 0
