"""Solar cells from their package: how they are cut, and what an expert says of them."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from elpv_dataset.utils import load_dataset

from snnlib.data import cells, load
from snnlib.data.cells import CELL_SPLITS, WORDS, CellSet, load_cells

SIZES = {"train": 1_574, "calibration": 394, "test": 656}


@pytest.fixture(scope="module")
def parts():
    """All cells, cut by one seed; some of each are enough where pixels count."""
    return {split: load_cells(split, seed=3) for split in CELL_SPLITS}


def test_each_cell_is_in_one_part(parts):
    assert {split: len(part) for split, part in parts.items()} == SIZES
    files = np.concatenate([part.files for part in parts.values()])
    assert len(set(files)) == 2_624
    assert all(file.is_file() for file in files)


def test_words_and_types_are_in_proportion(parts):
    """In each part as in all, to one cell; the counts of all are those of the publication."""

    def counts(part):
        kinds, found = np.unique(np.char.add(part.words, part.types), return_counts=True)
        return dict(zip(kinds, found))

    found = {split: counts(part) for split, part in parts.items()}
    whole = {kind: sum(of[kind] for of in found.values()) for kind in found["train"]}
    of_word = {word: sum(n for kind, n in whole.items() if word in kind) for word in WORDS.values()}
    assert list(of_word.values()) == [1_508, 295, 106, 715]
    assert sum(n for kind, n in whole.items() if kind.endswith("mono")) == 1_074
    for split, of_part in found.items():
        for kind, count in of_part.items():
            assert abs(count - whole[kind] * SIZES[split] / 2_624) <= 1


def test_cells_are_those_of_the_package(parts):
    images, probabilities, types = load_dataset()
    for part in parts.values():
        assert part.images.dtype == np.float32
        assert part.images.shape[1:] == (1, 300, 300)
        some = slice(None, None, 20)
        numbers = [int(file.stem.removeprefix("cell")) - 1 for file in part.files]
        assert (np.diff(numbers) > 0).all()  # in their own order
        assert np.array_equal(np.rint(255 * part.images[some, 0]), images[numbers[some]])
        np.testing.assert_allclose(part.probabilities, probabilities[numbers], atol=1e-3)
        assert np.array_equal(part.types, types[numbers])
        assert np.array_equal(part.labels, probabilities[numbers] > 0.5)


def test_what_the_expert_says_and_what_it_counts(parts):
    expected = {
        0: ("functional, sure", "functional", 1),
        1 / 3: ("functional, unsure", "functional", 0.33),
        2 / 3: ("defective, unsure", "defective", 0.67),
        1: ("defective, sure", "defective", 1),
    }
    part = parts["calibration"]
    assert set(part.probabilities) == set(expected)
    told = zip(part.probabilities, zip(part.words, part.names, part.weights))
    assert all(of == expected[probability] for probability, of in told)


def test_a_part_drawn_is_in_proportion_and_of_the_seed():
    drawn, again, other = (load("elpv", "test", size=100, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(drawn.files, again.files)
    assert set(drawn.files) != set(other.files)
    assert set(drawn.files) < set(load_cells("test").files)
    assert isinstance(drawn, CellSet)
    assert (drawn.labels == 1).sum() == pytest.approx(100 * 821 / 2_624, abs=2)


def test_cells_that_are_taken_bring_what_is_said_of_them(parts):
    part, rows = parts["calibration"], np.array([5, 0, 300])
    taken = part.take(rows)
    assert isinstance(taken, CellSet)
    for name in ("images", "labels", "probabilities", "types", "files", "words", "weights"):
        assert np.array_equal(getattr(taken, name), getattr(part, name)[rows])


def test_cells_that_are_joined_or_cut_bring_it_too(parts):
    part = parts["calibration"]
    rest, some = part.split(100, seed=0)
    joined = rest.join(some)
    assert isinstance(joined, CellSet)
    assert (len(joined), len(some)) == (394, 100)
    assert set(joined.files) == set(part.files)
    of_file = dict(zip(part.files, part.probabilities))
    assert [of_file[file] for file in joined.files] == joined.probabilities.tolist()
    assert part.class_means().labels.tolist() == [0, 1]


def test_what_is_printed(parts):
    assert repr(parts["test"]) == (
        "CellSet(656 images of 1 × 300 × 300, 2 classes: functional, defective; "
        "source 'elpv-dataset, photographs of solar cells (CC BY-NC-SA 4.0)')"
    )


@pytest.mark.parametrize("name", ["probabilities", "types", "files"])
def test_one_of_each_for_every_image(parts, name):
    with pytest.raises(ValueError, match=rf"every image needs one of {name}, got shape \(2,\)"):
        replace(parts["test"], **{name: getattr(parts["test"], name)[:2]})


@pytest.mark.parametrize("size", [7, 649, 0])
def test_sizes_that_leave_a_kind_out(size):
    with pytest.raises(ValueError, match=rf"size must lie in 8 … 648 for the test .* got {size}"):
        load("elpv", "test", size=size)


@pytest.mark.parametrize(
    ("split", "source", "message"),
    [
        ("validation", None, "split must be one of train, calibration, test; got 'validation'"),
        ("train", "hub", "elpv has one source, the package elpv-dataset; got 'hub'"),
    ],
)
def test_what_can_not_be_had(split, source, message):
    with pytest.raises(ValueError, match=message):
        load("elpv", split, source=source)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    cells._table.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"elpv_dataset is missing.*\n.*snnlib\[chapters"):
        load("elpv", "test")
