import json
import re

import numpy as np
import pytest
from scipy import stats

from snnlib.book import results
from snnlib.book.results import Results, prediction_interval, read_results

STORED = {
    "origin": {
        "data": "mnist, local mirror",
        "versions": {"torch": "2.13.0"},
        "machine": {"cores": 2},
    },
    "stamps": {
        "a": {"date": "2026-01-01", "commit": "0123456789", "modules": {"script.py": "0"}},
        "b": {"date": "2026-02-01", "commit": "9876543210", "modules": {"sampling": "old"}},
    },
    "notes": {"ratio": {"value": 8.0, "stamp": "a"}},
    "runs": [
        {
            "settings": {"case": case, "seed": seed},
            "figures": {"kmeans": base + seed / 1000, "auc": base + seed / 100},
            "stamp": stamp,
        }
        for case, base, stamp in [("slow", 0.9, "b"), ("fast", 0.95, "a")]
        for seed in range(3)
    ],
}


@pytest.fixture
def table(tmp_path, monkeypatch):
    (tmp_path / "made_up.json").write_text(json.dumps(STORED), encoding="utf-8")
    monkeypatch.setattr(results, "files", lambda package: tmp_path)
    monkeypatch.delenv("SNNLIB_PROFILE", raising=False)
    return read_results("made_up")


def test_values_by_case(table):
    assert isinstance(table, Results)
    np.testing.assert_allclose(table.of("fast", "kmeans"), [0.95, 0.951, 0.952])
    assert table.notes == {"ratio": 8.0}
    with pytest.raises(KeyError, match="no 'kmeans' of 'other'"):
        table.of("other", "kmeans")


def test_mean_and_spread(table):
    shown = table.mean_sd(["fast", "slow"], {"kmeans": "k-means"})
    assert shown.loc["fast", "k-means"] == "95.10 ± 0.10 %"
    assert shown.index.tolist() == ["fast", "slow"]
    once = table.where(seed=0).mean_sd(["fast"], {"kmeans": "k-means"})
    assert re.fullmatch(r"95\.\d\d %", once.loc["fast", "k-means"])


def test_a_case_without_a_figure_has_a_dash(table):
    table.runs.loc[table.runs["case"] == "slow", "auc"] = np.nan
    shown = table.mean_sd(["fast", "slow"], {"auc": "area"})
    assert shown["area"].tolist() == ["96.00 ± 1.00 %", "–"]


def test_line(table):
    words = "3 seeds, mnist, local mirror, 2 cores, torch 2.13.0"
    assert table.where(case="fast").line() == f"{words}, 2026-01-01, commit 0123456"
    assert table.where(case="slow").line() == (
        f"{words}, 2026-02-01, commit 9876543; measured before changes to sampling"
    )
    assert table.line() == (
        f"{words}, 2026-01-01 and 2026-02-01, commit 9876543 and 0123456; measured before changes "
        "to sampling"
    )
    assert table.changed() == ["sampling"]
    assert table.where(case="fast").changed() == []
    table.stamps[0]["modules"] |= dict.fromkeys(["images", "training"], "old")
    assert table.line().endswith("; measured before changes to 3 modules that it rests on")


def test_a_run_is_compared_where_it_can_be(table, monkeypatch):
    hub = "mnist, Hugging Face Hub (x)"
    assert "within 94.60 … 95.60 %" in table.compare("fast", "kmeans", 0.95, hub)
    assert "outside 94.60 … 95.60 %" in table.compare("fast", "kmeans", 0.942, hub)
    assert "measured on mnist" in table.compare("fast", "kmeans", 0.2, "scikit-learn's digits, 8")
    with pytest.raises(ValueError, match=r"is 80.00 % on this page, expected 94.10 … 96.10 %"):
        table.compare("fast", "kmeans", 0.8, "mnist, local mirror")
    monkeypatch.setenv("SNNLIB_PROFILE", "fast")
    assert "fast profile" in table.compare("fast", "kmeans", 0.2, "mnist, local mirror")


def test_a_fault_of_a_point_and_a_half_is_found_and_a_case_that_would_hide_it_refused(table):
    for value in (0.951 - 0.015, 0.951 + 0.015):
        with pytest.raises(ValueError, match=r"on this page, expected 94.10 … 96.10 %"):
            table.compare("fast", "kmeans", value, "mnist, local mirror")
    with pytest.raises(ValueError, match=r"'fast' scatters by 1.00 points over the seeds, more"):
        table.compare("fast", "auc", 0.96, "mnist, local mirror")


def test_a_case_without_chance_is_compared_with_its_one_run(table):
    once = table.where(seed=0)
    told = once.compare("fast", "kmeans", 0.954, "mnist, local mirror")
    assert told == "95.00 % in the table; nothing in it is random"
    with pytest.raises(ValueError, match=r"is 94.40 % on this page, expected 94.50 … 95.50 %"):
        once.compare("fast", "kmeans", 0.944, "mnist, local mirror")


def test_runs_with_certain_settings(table):
    some = table.where(case="fast", seed=1)
    assert some.runs["kmeans"].tolist() == [0.951]
    assert some.line() == table.where(case="fast").line().replace("3 seeds", "1 seed")
    with pytest.raises(KeyError, match=r"no run with .*'seed': 7"):
        table.where(seed=7)


def test_a_table_of_two_sets_compares_with_either(table, monkeypatch):
    table.origin["data"] = "mnist and fashion_mnist, local mirror"
    for name in ("mnist", "fashion_mnist"):
        assert "within" in table.compare("fast", "kmeans", 0.95, f"{name}, local mirror")
    assert "not compared" in table.compare("fast", "kmeans", 0.95, "digits, 8 × 8")


def test_unknown_results():
    with pytest.raises(FileNotFoundError, match="no results of a benchmark named 'nothing'"):
        read_results("nothing")


def test_the_results_of_the_repository_can_be_read():
    table = read_results("mnist_pairs")
    assert {"source recipe", "better recipe"} <= set(table.runs["case"])
    assert table.runs["seed"].nunique() == 3


def test_prediction_intervals_hold_the_next_run():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 4))
    inside = [
        low <= row[3] <= high for row in draws for low, high in [prediction_interval(row[:3])]
    ]
    assert stats.binomtest(sum(inside), len(inside), 0.95).pvalue > 1e-3


def test_one_value_has_no_spread():
    with pytest.raises(ValueError, match="two values, got 1"):
        prediction_interval([0.9])


def test_results_are_printed_in_a_line(table):
    assert repr(table) == f"Results(6 runs of 2 cases: {table.line()})"
    one = table.where(case="slow", seed=0)
    assert repr(one) == f"Results(1 run of 1 case: {one.line()})"
