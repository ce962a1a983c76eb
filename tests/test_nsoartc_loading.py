"""Where maps come from: simulated once a machine, or the published sets, whose Hub is played."""

import io

import datasets
import numpy as np
import pytest
from hub import Hub, in_a_process

from snnlib.data import stored
from snnlib.nsoartc import dataset, loading
from snnlib.nsoartc.dataset import simulate
from snnlib.nsoartc.loading import load_maps


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No network, and nothing remembered."""
    monkeypatch.setattr(stored, "hub_reachable", lambda: False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNNLIB_NSOARTC", raising=False)
    monkeypatch.setenv("SNNLIB_CACHE", str(tmp_path / "arrays"))
    loading._simulated.cache_clear()
    yield
    loading._simulated.cache_clear()


def test_maps_come_from_the_simulated_cell():
    retest = load_maps("retest")
    assert retest.source == "nsoartc, simulated cell"
    assert retest.images.shape == (300, 1, 36, 39)
    assert load_maps("retest") is retest
    with pytest.raises(ValueError, match="read-only"):
        retest.images[0] = 0


@pytest.mark.parametrize("size", [None, 20])
def test_maps_are_simulated_once_a_machine(size, monkeypatch):
    made = []
    simulate_set = loading.named_set

    def watched(split, indices=None):
        made.append(split)
        return simulate_set(split, indices)

    monkeypatch.setattr(loading, "named_set", watched)
    first = load_maps("retest", size=size, seed=2)
    loading._simulated.cache_clear()
    again = load_maps("retest", size=size, seed=2)
    assert made == ["retest"]
    assert len(again) == (size or 300)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert again.class_names == first.class_names == dataset.class_names_of(dataset.MODES)
    assert again.source == first.source == dataset.SOURCE


def test_a_part_of_the_maps_is_made_by_itself():
    few, again = (load_maps("test", size=41, seed=3) for _ in range(2))
    assert np.bincount(few.labels).tolist() == [32] + [1] * 9
    assert np.array_equal(few.images, again.images)
    assert len(few.class_names) == 10
    with pytest.raises(ValueError, match="10 … 4000 for the test maps, got 9"):
        load_maps("test", size=9)


@pytest.mark.parametrize(
    ("split", "source", "message"),
    [
        ("exam", None, "split must be one of train, validation, .*; got 'exam'"),
        ("later", "hub", "split must be one of train, test, validation, calibration; got 'later'"),
        ("train", "mirror", "source must be one of simulator, hub; got 'mirror'"),
    ],
)
def test_maps_that_are_not_there(split, source, message):
    with pytest.raises(ValueError, match=message):
        load_maps(split, source=source)


def test_an_unknown_source_of_maps_in_the_environment(monkeypatch):
    monkeypatch.setenv("SNNLIB_NSOARTC", "web")
    with pytest.raises(ValueError, match="SNNLIB_NSOARTC must be one of simulator, hub; got 'web'"):
        load_maps("train")


def published(modes, parts):
    """A repository of maps as the published ones are laid out, with labels of another order."""
    maps = simulate(parts, modes, part_seed=parts, shot_seed=parts)
    rows = {f"data{k}": v for k, v in enumerate(maps.images.reshape(len(maps), -1).T)}
    order = np.random.default_rng(parts).permutation(len(modes))
    names = np.array(maps.class_names)[maps.labels]
    buffer = io.BytesIO()
    rows |= {"label": order[maps.labels], "fmode": names}
    datasets.Dataset.from_dict(rows).to_parquet(buffer)
    return {"README.md": b"", "data/train-00000-of-00001.parquet": buffer.getvalue()}


MAPS = """
import json
from snnlib.nsoartc.loading import load_maps
sets = {split: load_maps(split) for split in ("train", "validation", "calibration", "test")}
print(json.dumps({split: [maps.source, len(maps), maps.class_names, maps.labels.tolist(),
    maps.images.sum(axis=(1, 2, 3)).tolist()] for split, maps in sets.items()}))
"""


@pytest.fixture(scope="module")
def connectors():
    train, test = loading.HUB_NAMES["train"], loading.HUB_NAMES["test"]
    modes = ("OK", "92D05", "31X10")
    return {train: published(modes, 10), test: published(modes, 3)}


def test_the_published_maps_by_choice(connectors, tmp_path, monkeypatch):
    monkeypatch.setenv("SNNLIB_NSOARTC", "hub")
    with Hub(connectors) as hub:
        sets = in_a_process(MAPS, hub.address, tmp_path)
    assert in_a_process(MAPS, hub.address, tmp_path) == sets  # the server is gone
    assert {split: values[1] for split, values in sets.items()} == {
        "train": 18,
        "validation": 6,
        "calibration": 6,
        "test": 9,
    }
    for split, (source, _, names, labels, _) in sets.items():
        repository = loading.HUB_NAMES["test" if split == "test" else "train"]
        assert source == f"nsoartc as published, Hugging Face Hub ({repository})"
        assert names == ["OK", "31X10", "92D05"]
        assert len(set(np.bincount(labels))) == 1  # each class in proportion
    maps = simulate(3, ("OK", "92D05", "31X10"), part_seed=3, shot_seed=3)
    assert sets["test"][3] == maps.labels.tolist()
    np.testing.assert_allclose(sets["test"][4], maps.images.sum(axis=(1, 2, 3)), rtol=1e-5)
    train = sets["train"][4] + sets["validation"][4] + sets["calibration"][4]
    assert len(set(train)) == 30  # no part is in two of them


def test_a_published_failure_mode_that_was_not_trained(connectors, tmp_path):
    train, test = connectors
    new = {train: connectors[train], test: published(("OK", "11X10", "31X10"), 3)}
    code = """
import json, warnings
from snnlib.nsoartc.loading import load_maps
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always", UserWarning)
    test = load_maps("test", source="hub")
words = [str(w.message) for w in told if "failure mode" in str(w.message)]
known = load_maps("train", source="hub").class_names
print(json.dumps([test.class_names, test.labels.tolist(), known, words]))
"""
    with Hub(new) as hub:
        names, labels, known, told = in_a_process(code, hub.address, tmp_path)
    # Known modes keep the labels of the training set, though 11X10 sorts before them.
    assert names == [*known, "11X10"]
    assert sorted(set(labels)) == [0, known.index("31X10"), len(known)]
    (words,) = told
    assert words.startswith("3 of 9 parts are of failure modes that are not known: ['11X10']")


def test_the_hub_insisted_on_for_maps_and_out_of_reach():
    with pytest.raises(ConnectionError, match="NSOARTC_Tanshi_1221 is not in its cache"):
        load_maps("train", source="hub")
