"""Every benchmark runs: at toy size, interrupted, and gone on with. So do the cover and records.

What a benchmark finds at toy size means nothing; looked at is that it is a figure, and in range.
"""

import importlib
import json
import math
import mmap
import multiprocessing
import multiprocessing.connection
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from torch.utils.data import DataLoader

from snnlib import data, evaluation, training
from snnlib.book import provenance
from snnlib.data import boards, cells
from snnlib.images import ImageSet
from snnlib.nsoartc import dataset, networks
from snnlib.station.station import Station
from snnlib.station.verdict import UNKNOWN

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(
    file.stem for file in BENCHMARKS.glob("*.py") if "def main(" in file.read_text(encoding="utf-8")
)
#: The kernel's account of a process, whose peak can be reset.
needs_account = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the benchmark needs Linux"
)
#: Figures that are no shares: times, sizes, counts, losses, and ratios of such.
NO_SHARE = re.compile(
    r"loss|^epochs$|time_share|(^|_)(m?s|seconds|mib|bytes|ratio|steps|floats|faster|differ|run"
    r"|exponent|sizes|speedup|extrapolated|roughness|threshold|fits|a50|a90)(_| |$)"
    r"|^(false|found|kin|known|peaks|threads)$|_(false|found)$"
)
ANY_SIGN = re.compile(r"silhouette|exponent|mib|rise|rank|kappa")
IMAGES = {"train": 300, "test": 100}
#: Parts of each failure mode, and good ones beyond.
PARTS = {
    "train": (16, 0),
    "validation": (3, 0),
    "calibration": (3, 20),
    "test": (4, 20),
    "unseen": (2, 0),
    "later": (5, 0),
    "retest": (10, 0),  # a part in its ten shots
}


# What takes the place of images, maps and trainings


class SmallSet(ImageSet):
    """A set of which no more than a quarter can be set aside."""

    def split(self, size, *, seed):
        return super().split(min(size, len(self) // 4), seed=seed)


@cache
def few_images(name, split):
    drawn = data.load(name, split, IMAGES[split], source="standin")
    return SmallSet(drawn.images, drawn.labels, drawn.class_names, drawn.source)


def few_rows(split):
    """Positions of some parts in a named set."""
    each, more = PARTS[split]
    modes = dataset.modes_of(split)
    rows = [np.flatnonzero(modes == mode) for mode in np.unique(modes)]
    kept = [row[: each + (more if modes[row[0]] == "OK" else 0)] for row in rows]
    return np.sort(np.concatenate(kept))


@cache
def few_maps(split):
    return dataset.named_set(split, few_rows(split))


@cache
def few_parts_seen(split):
    return dataset.named_images(split, few_rows(split))


class NoWhitening:
    """Leaves maps as they are: learning how to whiten takes half a second."""

    def fit(self, X, y):
        self.matrix_ = np.eye(X.shape[1])
        return self


class FirstExamples:
    """Of data to train on, no more than a step an epoch."""

    def __init__(self, whole, examples):
        self.whole, self.examples = whole, examples

    def __len__(self):
        return min(len(self.whole), self.examples)

    def __getattr__(self, name):
        return getattr(self.whole, name)


def short(fit, epochs):
    """A training of a step an epoch, which says nothing of how little it has learned."""

    def call(encoder, examples, loss, *, batch_size=None, validation=None, **settings):
        size = batch_size or examples.batch_size
        settings["epochs"] = min(settings["epochs"], epochs)
        if isinstance(examples, DataLoader):
            return fit(encoder, examples, loss, **settings)
        watched = validation and FirstExamples(validation, size)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*training clinic of the book", RuntimeWarning)
            few = FirstExamples(examples, size)
            return fit(encoder, few, loss, batch_size=batch_size, validation=watched, **settings)

    return call


def once(function):
    """What takes seconds is done the first time."""
    found = []

    def call(*arguments):
        if not found:
            found.append(function(*arguments))
        return found[0]

    return call


@cache
def few_cells(split, seed):
    return cells.load_cells(split, {"train": 40, "calibration": 16, "test": 32}[split], seed)


@cache
def few_boards(split, size=None, seed=0):
    """Pairs of three drawn boards."""
    whole = boards.load_boards(split, source="standin")
    groups, counts = np.unique(whole.groups, return_counts=True)
    chosen = np.isin(whole.groups, groups[np.argsort(-counts, kind="stable")[:3]])
    size = size or {"train": 10, "validation": 4, "test": 8}[split]
    return whole.take(np.flatnonzero(chosen)[:size])


STAND_INS = {
    "load_boards": few_boards,
    "load": few_images,
    "load_maps": few_maps,
    "named_images": few_parts_seen,
    "load_cells": few_cells,
}
modules_of = cache(provenance.modules_of)  # a second for each benchmark that reaches far


class Toys:
    """Benchmarks that train little, into a folder of their own."""

    def __init__(self, folder, patch, capsys):
        self.folder, self.patch, self.capsys = folder, patch, capsys
        self.trained, self.stopped_at, self.training = 0, None, False
        patch.syspath_prepend(BENCHMARKS)
        self.train_for(epochs=1)
        recording = importlib.import_module("recording")
        patch.setattr(recording, "FOLDER", folder)
        patch.setattr(recording, "modules_of", modules_of)
        patch.setattr(networks, "WithinClassWhitening", NoWhitening)
        patch.setattr(evaluation, "RESAMPLES", 2)

    def train_for(self, epochs, fit=training.fit):
        """Trainings are short from here, in scripts that are loaded from here."""
        self.patch.setattr(training, "fit", self.counted(short(fit, epochs)))

    def counted(self, train):
        """The same training, which may be one too many; others within it are part of it."""

        def call(*arguments, **settings):
            if self.training:
                return train(*arguments, **settings)
            self.trained += 1
            if self.trained == self.stopped_at:
                raise KeyboardInterrupt
            self.training = True
            try:
                return train(*arguments, **settings)
            finally:
                self.training = False

        return call

    def load(self, name, **constants):
        """A script with other constants, and with sets that are small."""
        script = importlib.import_module(name)
        for word, stand_in in STAND_INS.items():
            if hasattr(script, word):
                self.patch.setattr(script, word, stand_in)
        for word, value in constants.items():
            self.patch.setattr(script, word, value)
        return script

    def read(self, script):
        """What is on record, all of it figures."""
        text = (self.folder / f"{script.__name__}.json").read_text(encoding="utf-8")
        return strictly(text)

    def write(self, script, stored):
        file = self.folder / f"{script.__name__}.json"
        file.write_text(json.dumps(stored), encoding="utf-8")

    def said(self):
        return self.capsys.readouterr().out.splitlines()


@pytest.fixture
def toys(tmp_path, monkeypatch, capsys):
    yield Toys(tmp_path / "code" / "benchmarks" / "results", monkeypatch, capsys)
    for file in BENCHMARKS.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.fixture
def recording(toys):
    toys.patch.setattr(sys.modules["recording"], "modules_of", provenance.modules_of)
    return sys.modules["recording"]


@pytest.fixture
def measuring(toys):
    return importlib.import_module("measuring")


# What must be true of every benchmark


def strictly(text):
    """JSON without NaN and infinity, which Python would read."""

    def refuse(word):
        raise AssertionError(f"{word} is no figure")

    return json.loads(text, parse_constant=refuse)


def check_figures(figures, name=""):
    """Numbers, finite, and shares between 0 and 1; in lists and tables, too."""
    if isinstance(figures, dict):
        for key, value in figures.items():
            below = key if isinstance(value, dict) else f"{name}_{key}".lstrip("_")
            check_figures(value, below)
    elif isinstance(figures, list):
        for value in figures:
            check_figures(value, name)
    elif not (figures is None and name.endswith("validation_loss")):
        assert isinstance(figures, int | float), name
        assert math.isfinite(figures), name
        assert figures >= (-math.inf if ANY_SIGN.search(name) else 0), name
        assert figures <= (math.inf if NO_SHARE.search(name) else 1), name


def check_record(stored, cases):
    """Every case is on record, no setting twice, all by today's code."""
    settings = [json.dumps(run["settings"], sort_keys=True) for run in stored["runs"]]
    assert len(set(settings)) == len(settings)
    assert {run["settings"]["case"] for run in stored["runs"]} == set(cases)
    for run in stored["runs"]:
        check_figures(run["figures"])
    entries = [*stored["runs"], *stored["notes"].values()]
    assert {entry["stamp"] for entry in entries} == set(stored["stamps"])
    assert len(stored["stamps"]) == 1


def check_words(lines, cases, figures, lacking=()):
    """A table with every case and some figures, then one line of JSON, as the last."""
    *table, last = lines
    for word in (*cases, *figures):
        assert any(word in line for line in table), word
    said = json.loads(last)
    for case in lacking:
        said.pop(case, None)
    assert said
    check_figures(strictly(json.dumps(said)))


def check_measured_anew(toys, script, cases, figures):
    """A benchmark that is never gone on with: its runs take the place of older ones."""
    script.main()
    check_words(toys.said(), cases, figures)
    first = toys.read(script)
    check_record(first, cases)
    old = {**first, "runs": [run | {"stamp": "old"} for run in first["runs"]]}
    toys.write(script, old | {"stamps": {**first["stamps"], "old": {}}})
    script.main()
    second = toys.read(script)
    check_record(second, cases)
    assert len(second["runs"]) == len(first["runs"])


def check_gone_on_with(toys, script, cases, figures, *, stopped_at, shown=None, lacking=()):
    """Interrupted in a training, gone on with, done, and done again where code has changed."""
    toys.stopped_at = stopped_at
    with pytest.raises(KeyboardInterrupt):
        script.main()
    begun = toys.read(script)
    assert begun["runs"]
    script.main()
    whole = toys.read(script)
    assert len(whole["runs"]) > len(begun["runs"])
    assert whole["runs"][: len(begun["runs"])] == begun["runs"]
    check_record(whole, cases)
    check_nothing_left(toys, script, shown or cases, figures, lacking)
    check_old_code(toys, script, cases)


def check_nothing_left(toys, script, cases, figures, lacking):
    """All is on record: nothing is trained, and the same is said once more."""
    trained, runs = toys.trained, toys.read(script)["runs"]
    toys.said()
    script.main()
    assert toys.trained == trained
    assert toys.read(script)["runs"] == runs
    check_words(toys.said(), cases, figures, lacking)


def check_old_code(toys, script, cases):
    """Runs of one case by other code are measured again, and no others."""
    whole, trained = toys.read(script), toys.trained
    last = whole["runs"][-1]["settings"]

    def is_old(run):
        return all(run["settings"][key] == last[key] for key in ("case", "seed"))

    old = [run | {"stamp": "old"} if is_old(run) else run for run in whole["runs"]]
    toys.write(script, {**whole, "runs": old, "stamps": {**whole["stamps"], "old": {}}})
    script.main()
    assert toys.trained > trained
    anew = toys.read(script)
    check_record(anew, cases)
    assert len(anew["runs"]) == len(whole["runs"])
    kept = [run for run in whole["runs"] if not is_old(run)]
    assert anew["runs"][: len(kept)] == kept


def test_every_benchmark_has_its_test():
    assert len(SCRIPTS) >= 15
    assert [name for name in SCRIPTS if f"test_{name}" not in globals()] == []


# Images


def test_mnist_pairs(toys):
    script = toys.load("mnist_pairs", SEEDS=(0,), SEARCHED=(0,), DRAWS=2)
    fewer = {"images": lambda n: IMAGES["train"], "pairs": lambda n: n // 1000}
    few = {
        case: {key: fewer.get(key, lambda value: value)(value) for key, value in changes.items()}
        for case, changes in script.CASES.items()
    }
    source = script.SOURCE | {"pairs": 60}
    rates = {way: tried[:1] for way, tried in script.RATES.items()}
    softmax = {case: source | {"batch": 10} for case in script.SOFTMAX}
    better = script.BETTER | {"batch": 10}
    replaced = {"CASES": few, "SOURCE": source, "RATES": rates, "SOFTMAX": softmax}
    for name, value in (replaced | {"BETTER": better}).items():
        toys.patch.setattr(script, name, value)
    searched = [f"search: {', '.join(map(str, way))}" for way in rates]
    rivals = ["pixels, nearest mean", "pixels, five nearest", "untrained", *softmax]
    cases = [*searched, *(f"unseen, {way}" for way in script.UNSEEN), *rivals, *few]
    check_gone_on_with(toys, script, cases, ["kmeans", "train_s"], stopped_at=30, lacking=searched)


def test_mining(toys):
    small = {"SEEDS": (0,), "BUDGETS": (1e-4, 2e-4), "SEARCH_BUDGET": 1e-4, "TRIAL_STEPS": 2}
    script = toys.load("mining", **small, STEPS=3, SHARES=(0.2,), RATES=(1e-3,), BATCH=70)
    cases = ["pixels", "untrained", *script.STRATEGIES]
    check_gone_on_with(toys, script, cases, ["recall_at_1", "map_at_r"], stopped_at=60)
    measured = {run["settings"]["measured"] for run in toys.read(script)["runs"]}
    assert measured == {"steps", "unseen", "wrong labels", "seconds"}
    assert {f"search: {name}" for name in script.STRATEGIES} == set(toys.read(script)["notes"])


def test_fashion_triplets(toys):
    toys.train_for(epochs=2)
    script = toys.load("fashion_triplets", SEEDS=(0,))
    few = {"triplets": 64, "validation_triplets": 64, "epochs": 2}
    for name in ("CASES", "SEARCHED", "SOFTMAX"):
        smaller = {case: changes | few for case, changes in getattr(script, name).items()}
        toys.patch.setattr(script, name, smaller)
    softmax = {case: recipe | {"batch": 8} for case, recipe in script.SOFTMAX.items()}
    toys.patch.setattr(script, "SOFTMAX", softmax)
    for name in ("train_in_keras", "train_in_pytorch"):
        toys.patch.setattr(script, name, toys.counted(getattr(script, name)))
    cases = [*script.SEARCHED, "pixels", "untrained", *softmax, *script.CASES]
    figures, searched = ["auc", "mean_embedding"], script.SEARCHED
    check_gone_on_with(toys, script, cases, figures, stopped_at=12, lacking=searched)


def test_batch_losses(toys):
    script = toys.load("batch_losses", SIZES=(40, 256), ROUNDS=2, CALLS=1)
    check_measured_anew(toys, script, script.CASES, ["peer_ms", "peak_mib"])


class Child(threading.Thread):
    """Stands for a process of its own, and sees what a test has replaced."""

    def __init__(self, target, args, daemon=True):
        *others, end = args
        # As a process has a copy of its own, which the parent can't close.
        self.end = multiprocessing.connection.Connection(os.dup(end.fileno()))
        super().__init__(target=target, args=(*others, self.end), daemon=daemon)

    def run(self):
        try:
            super().run()
        finally:
            self.end.close()


class Pool:
    """Stands for processes of their own in the same way."""

    def __init__(self, processes):
        assert processes == 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def apply(self, function, arguments):
        return function(*arguments)


@pytest.fixture
def no_processes(monkeypatch):
    def context(method):
        assert method == "spawn"
        return SimpleNamespace(Process=Child, Pipe=multiprocessing.Pipe, Pool=Pool)

    monkeypatch.setattr(multiprocessing, "get_context", context)


@needs_account
def test_contrastive(toys, no_processes):
    toys.patch.setattr(sys, "argv", ["contrastive.py", "--epochs", "2"])
    toys.train_for(epochs=2)
    script = toys.load("contrastive")
    check_measured_anew(toys, script, script.VARIANTS, ["start_s", "memory_rise_mib"])
    assert toys.read(script)["runs"][0]["settings"]["epochs"] == 2


@needs_account
def test_triplets(toys, no_processes):
    sizes = {"appending": (10, 20, 40), "flattening": (10, 20, 40)}
    script = toys.load("triplets", N=64, LOOP_SIZES=sizes, EPOCH_TURNS=2)
    cases = ["source procedure", "source procedure, 16 steps at once"]
    cases += ["snnlib, a step at a time", "snnlib"]
    check_measured_anew(toys, script, cases, ["make_s", "epoch_s_max"])


# Photographs


@needs_account
def test_station(toys, no_processes):
    few = {"COUNTS": (40,), "SIDES": (64,), "DISTINCT": 20, "PIXELS": 96, "JUDGED": 8}
    line = {("lot_1", "OK"): 12, ("lot_1", "bent"): 6, ("lot_2", "OK"): 8}
    line |= {("lot_3", "OK"): 9, ("lot_3", "bent"): 9}
    few |= {"SIDE": 64, "SEEDS": (0,), "LINE": line, "STARTS": 1, "PASSES": 2}
    few |= {"WIDTHS": (2, 8), "SHEETS": 12, "GRAINS": {"smooth": 2}, "STEPS": {"bright": 70}}
    script = toys.load("station", PATCHES=3_000, has_anomalib=lambda: False, **few)
    files = [f"one file, {how} evidence" for how in ("with", "without")]
    cases = ["photographs", *files, "bright discs on a smooth sheet", "coreset"]
    check_measured_anew(toys, script, cases, ["features_ms", "memory_mib"])
    runs = {run["settings"]["case"]: run["figures"] for run in toys.read(script)["runs"]}
    for case in files:
        assert runs[case]["int8_mib"] < 0.5 * runs[case]["float32_mib"]
        for name in ("escapes", "false_alarms"):  # two ways to count the same
            one, other = (
                runs[case][f"{kind}_{name}"] * runs[case]["judged_sizes"]
                for kind in ("float32", "int8")
            )
            only = [runs[case][f"{name}_differ_{kind}_right"] for kind in ("float32", "int8")]
            assert one + only[0] == pytest.approx(other + only[1])
    assert runs["bright discs on a smooth sheet"]["width_8"] == 1


@pytest.mark.parametrize("kept", [None, 50])
def test_station_against_patchcore(toys, kept, tmp_path):
    """The race, with our own side in place of anomalib, which is not among our packages."""
    script = toys.load("station", LEARNED=10, TESTED=6, SIDE=64)
    files = script.write_pins(tmp_path / "pins", seed=1)
    assert {name: len(parts) for name, parts in files.items()} == {
        "learned": 10,
        "good": 6,
        "bent": 6,
    }
    toys.patch.setattr(script, "RACES", {"as many patches": (kept, (0, 1))})
    first = []
    ours = script.ours

    def told(side, files):
        first.append(side)
        return ours(files)

    toys.patch.setattr(script, "ours", lambda files: told("ours", files))
    toys.patch.setattr(script, "theirs", lambda files, kept: told("theirs", files)[:3])
    record = importlib.import_module("recording").begin(script.__file__, "pins")
    script.race(record, tmp_path)
    runs = toys.read(script)["runs"]
    assert first == ["ours", "theirs", "theirs", "ours"]
    assert [run["settings"]["seed"] for run in runs] == [0, 1]
    for run in runs:
        check_figures(run["figures"])
        assert run["figures"]["auc"] == run["figures"]["peer_auc"]
    folders = [tmp_path / f"as many patches {seed}" / "learned" / "000.png" for seed in (0, 1)]
    assert folders[0].read_bytes() != folders[1].read_bytes()


@pytest.mark.parametrize("on_points", [["head, hard labels", "anchors by make, whitened"]])
def test_solar_cells(toys, on_points):
    sides = {"SIDES": (64,), "SIDE": 64, "SCRATCH": 48, "TUNED": 48}
    script = toys.load("solar_cells", SEEDS=(0, 1), TIMED=4, **sides)
    kept = {case: script.ON_POINTS[case] for case in (script.REFERENCE, *on_points, "RBF SVM")}
    toys.patch.setattr(script, "ON_POINTS", kept)
    choices = [f"choosing: 64 pixels, {what}" for what in ("means", "means and maxima")]
    cases = [*choices, *kept, *script.ON_IMAGES, script.GOOD_ONLY]
    figures = ["weighted", "rank", "ms", "mib", "differ_head"]
    check_gone_on_with(toys, script, cases, figures, stopped_at=5)


def test_a_fit_of_more_than_six_minutes_ends_the_solar_cells(toys):
    script = toys.load("solar_cells", SEEDS=(0,), SIDES=(64,), SIDE=64, CAP=0)
    with pytest.raises(SystemExit, match="head, soft labels took 0 s, more than 0: fewer epochs"):
        script.main()


def test_golden_sample(toys, tmp_path):
    script = toys.load(
        "golden_sample", SEEDS=(0,), SHORT_SEEDS=(0,), SHORT_TEST=4, BATCH=8, TIMED=2, DRAWS=2
    )
    toys.patch.setattr(script, "cache_folder", lambda: tmp_path)
    left_out = [
        f"left out: {kind}, {looks}" for kind in script.KINDS for looks in ("difference", "tested")
    ]
    subtracted = [f"subtracted, tolerance {tolerance}" for tolerance in script.TOLERANCES]
    cases = [*subtracted, script.SHORT, *script.LOOKS, *script.OFF, *left_out]
    cases += [f"speed: {looks}" for looks in script.LOOKS]
    figures = ["map", "any_kind", "false", "recall", "train_s"]
    check_gone_on_with(toys, script, cases, figures, stopped_at=5)


@pytest.mark.parametrize("kind", range(6))
def test_of_a_kind_that_is_left_out_no_trace_is_left(toys, kind):
    """What is painted over looks like the template; all else is as it was."""
    script, whole = toys.load("golden_sample"), few_boards("train")
    painted = script.without(whole, kind)
    templates, tested = whole.pairs(range(len(whole)))
    now = painted.pairs(range(len(whole)))[1]
    assert (painted.defects.kinds != kind).all()
    assert len(painted.defects) == (whole.defects.kinds != kind).sum()
    inside, others = np.zeros(tested.shape, dtype=bool), np.zeros(tested.shape, dtype=bool)
    for row, corners, its in zip(
        whole.defects.pictures, whole.defects.corners.astype(int), whole.defects.kinds
    ):
        x1, y1, x2, y2 = corners
        (inside if its == kind else others)[row, 0, y1:y2, x1:x2] = True
    assert (now[inside & ~others] == templates[inside & ~others]).all()
    assert (now[~inside | others] == tested[~inside | others]).all()


# Maps


@pytest.mark.filterwarnings("ignore::UserWarning")  # a toy station deserves doubt
def test_cnn_triplet(toys):
    script = toys.load("cnn_triplet", SEEDS=(0, 1), FEW_SEEDS=(0,))
    toys.patch.setattr(script, "MAP_CNN", replace(script.MAP_CNN, batch=2))
    toys.patch.setattr(script, "MAP_CNN_DRAWN", replace(script.MAP_CNN_DRAWN, batch=10))
    toys.patch.setattr(script, "simulate", fewer_simulated(script.simulate))
    cases = [*script.CASES, script.RESAMPLED, *script.AT_THE_EDGE, *script.NO_NETWORK]
    figures = ["accuracy", "escapes_with_limit"]
    lacking = [script.RESAMPLED, *script.AT_THE_EDGE]  # no figures of errors
    check_gone_on_with(toys, script, cases, figures, stopped_at=4, lacking=lacking)


def fewer_simulated(simulate):
    return lambda parts, *modes, **seeds: simulate(parts // 50, *modes, **seeds)


def test_new_defects(toys):
    script = toys.load("new_defects", SEEDS=(0,), DRAWS=2, PARTS=(1, 5))
    left_out = {"DEFECTS": script.DEFECTS[:2], "DIRECTIONS": {"all D05": script.DEFECTS[::3]}}
    script = toys.load("new_defects", **left_out)
    network = sys.modules["cnn_triplet"]
    toys.patch.setattr(network, "MAP_CNN", replace(network.MAP_CNN, batch=2))
    cases = [script.NETWORK, script.WITHOUT, "network, not shifted by pins"]
    check_gone_on_with(toys, script, cases, ["known_before", "known_after"], stopped_at=3)


def test_nsoartc_classifiers(toys):
    grids = {
        "polynomial SVM": {"degree": (2,), "C": (0.1, 1), "coef0": (1,)},
        "RBF SVM": {"C": (10,), "gamma": (1e-4, 3e-4)},
    }
    script = toys.load("nsoartc_classifiers", SEEDS=(0, 1, 2), GRIDS=grids)
    check_gone_on_with(toys, script, script.WAYS, ["accuracy", "false_alarms"], stopped_at=2)


def test_nsoartc_departures(toys):
    script = toys.load("nsoartc_departures")
    plans = {
        name: replace(plan, modes=tuple(plan.modes[::25])) for name, plan in script.PLANS.items()
    }
    toys.patch.setattr(script, "PLANS", plans)
    toys.patch.setattr(script, "modes_of", lambda split: np.array(plans[split].modes))
    check_measured_anew(toys, script, script.CASES, script.MACHINES)


def test_siamese_inspection(toys):
    toys.train_for(epochs=12)  # three before the rate first falls: the fewest of a rough curve
    script = toys.load("siamese_inspection", SEEDS=(0,), EPOCHS=12)
    cases = [*script.CASES, "embedding of 32", "embedding of 128", *script.WHITENED]
    check_gone_on_with(toys, script, cases, ["accuracy", "silhouette"], stopped_at=4)
    stored = toys.read(script)
    rough = [run["figures"] for run in stored["runs"] if "roughness" in run["figures"]]
    assert len(rough) == 2
    (run,) = (run for run in stored["runs"] if run["settings"]["case"] == cases[-1])
    wrong = stored["notes"][f"wrong: {cases[-1]}, 0"]["value"]
    right = 1 - len(wrong) / len(dataset.balance(few_maps("test"))[0])
    assert run["figures"]["accuracy"] == pytest.approx(right)


def test_siamese_inspection_runs_the_cases_that_are_asked_for(toys):
    script = toys.load("siamese_inspection", SEEDS=(0,))
    script.main(["plain classifier"])
    check_record(toys.read(script), ["plain classifier"])


def small_station(toys):
    """Loads before a script that uses it: a station of few parts, whose limit promises little."""
    script = toys.load("signed_station", SIGNED={"method": "quantile", "false_alarms": 0.1})
    toys.patch.setattr(script, "PIN_CNN", replace(script.PIN_CNN, batch=2))


def some_named(split, rows=None):
    parts = few_parts_seen(split)
    return parts if rows is None else parts.take(rows)


@pytest.mark.filterwarnings("ignore::UserWarning")  # a toy station deserves doubt
def test_signing_off(toys):
    small_station(toys)
    small = {"SEEDS": (0, 1), "SIZES": (30,), "RECALIBRATIONS": 2, "OTHERS": 30, "GRADED": 12}
    script = toys.load("signing_off", **small, PROMISE=0.2, named_images=some_named)
    curve = SimpleNamespace(a50=0.2, a90=0.3, a90_95=0.4)  # so few parts hardly overlap
    toys.patch.setattr(script, "detection_curve", lambda amounts, hits: curve)
    cases = [*script.LIMITS, script.STATION, script.RULER, *script.INSPECTORS]
    figures = ["kept", "passes: other pins", "a90_95 D", "kappa"]
    check_gone_on_with(toys, script, cases, figures, stopped_at=2, lacking=cases[:1])
    notes = toys.read(script)["notes"]
    assert set(notes) == {f"{method}, 30" for method in script.LIMITS}
    assert all(len(note["value"]) == 2 for note in notes.values())


@pytest.mark.filterwarnings("ignore::UserWarning")  # a toy station deserves doubt
def test_on_the_line(toys):
    small_station(toys)
    small = {"SEEDS": (0, 1), "NEW_LOT": 3, "ROUNDS": 2, "TIMED": 5, "GOOD_PARTS": 20}
    small |= {"OF_A_MODE": 1, "STREAMS": 3, "LONGEST": 20, "CHECKS": 3, "TAUGHT_BY": 4}
    script = toys.load("on_the_line", **small, DRIFTS=dict(islice(all_drifts(toys), 2)))
    toys.patch.setattr(script, "arrays_in_int8", lambda station, train, calibration: station)
    cases = [*script.WHITENINGS, *script.WAYS, *script.DRIFTS]
    figures = ["int8 escapes", "right", "run_log", "rings_by_verdict"]
    check_gone_on_with(toys, script, cases, figures, stopped_at=3)


def all_drifts(toys):
    return toys.load("on_the_line").DRIFTS.items()


@pytest.fixture
def one_core():
    """What a benchmark takes from this process, given back."""
    cores = os.sched_getaffinity(0)
    yield
    taken = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    assert len(taken) == 1


@needs_account
def test_nsoartc(toys, no_processes, one_core):
    parts = {"snnlib": 8, "scipy": 4, "numpy": 2}
    script = toys.load("nsoartc", ROUNDS=2, PARTS=parts, SIZES=(50, 100))
    check_measured_anew(toys, script, script.WAYS, ["ms", "ratio_least"])
    names = {f"{way}_{n}_mib" for way in ("map", "simulate") for n in (50, 100)}
    assert set(toys.read(script)["notes"]) == {*names, "published_seconds"}


# The tree of methods


def few_made(make):
    """Of parts in the order of their failure modes, one in fifty."""
    return lambda modes, *rest, **levels: make(modes[::50], *rest, **levels)


def fewer_named(named):
    """Of training parts, one in four."""

    def call(split):
        seen = named(split)
        return seen.take(range(0, len(seen), 4)) if split == "train" else seen

    return call


def one_setting(grid_and_fit):
    """A case with the last of its settings, whichever of the two comes first."""
    return tuple(part[-1:] if isinstance(part, list) else part for part in grid_and_fit)


def small_tree(toys):
    axes = {"parts": (3,), "wrong": (0.2,)}
    methods = ("ruler", "LDA", "mined, tile CNN")
    small = {"SEEDS": (0,), "FEW_SEEDS": (0,), "AXES": axes, "FACTORS": (3,)}
    script = toys.load("inspection", **small, AXIS_METHODS=methods)
    toys.patch.setattr(script, "milliseconds", partial(script.milliseconds, repeats=1, parts=2))
    toys.patch.setattr(script, "made", few_made(script.made))
    toys.patch.setattr(script, "named", fewer_named(script.named))
    toys.patch.setattr(script, "NETWORK_GRID", script.NETWORK_GRID[-1:])
    for cases in (script.METHODS, script.IMAGE_CASES):
        for name, case in list(cases.items()):
            toys.patch.setitem(cases, name, one_setting(case))
    return script


def test_inspection(toys):
    script = small_tree(toys)
    shown = {*script.METHODS}
    cases = shown | {*script.IMAGE_CASES}
    figures = ["false_alarms", "ms_map", "as it is", "wrong 0.2"]
    check_gone_on_with(toys, script, cases, figures, stopped_at=7, shown=shown)
    stored = toys.read(script)
    parts = {run["settings"]["part"] for run in stored["runs"]}
    assert parts == set(script.PARTS)
    assert set(stored["notes"]["step_mib"]["value"]) < set(script.BODIES)
    few = len(dataset.balance(few_maps("test"))[0])
    for name in script.METHODS:
        wrong = stored["notes"][f"wrong: {name}, 0"]["value"]
        assert wrong == sorted(set(wrong))
        assert set(wrong) <= set(range(few))


@pytest.mark.filterwarnings("ignore::UserWarning")  # a toy station deserves doubt
def test_methods_with_anchors_are_judged_as_by_a_station(toys):
    script = toys.load("inspection", BEYOND=0.1)
    methods = sys.modules["inspection_methods"]
    train, good, test = (
        methods.Seen(few_parts_seen(split), few_maps(split))
        for split in ("train", "calibration", "test")
    )
    setting = {"input": "scaled", "rate": 1e-3}
    judge = methods.on_maps("mined", "tile CNN", train, setting, 0)
    said = script.by_rule(judge, train, script.good_of(good))(test)
    rows = judge.points(train.maps.images), judge.points(test.maps.images)
    station = Station.of_encoder(
        torch.nn.Flatten(),
        replace(train.maps, images=as_images(rows[0])),
        replace(good.maps, images=as_images(judge.points(good.maps.images))),
        good="OK",
        tiles=(1, 1),
        false_alarms=0.1,
    )
    verdicts = station.judge(as_images(rows[1])).verdict
    names = np.array([*test.maps.class_names, UNKNOWN])
    assert (names[said] == verdicts).all()
    assert 0 < (verdicts == "OK").sum() < len(verdicts)


def as_images(rows):
    """Embeddings in the shape of images (n, 1, 1, d)."""
    return rows[:, None, None]


def test_unknown_defects(toys):
    script = toys.load("unknown_defects", SEEDS=(0,), MODES=dataset.MODES[:3])
    cases = [case for _, _, cases in script.fits() for case in cases.values()]
    check_gone_on_with(toys, script, cases, ["31X10", "none"], stopped_at=6)


def test_two_opinions(toys):
    setting = {"input": "whitened", "rate": 1e-3}
    chosen = {"RBF SVM": {"input": "whitened", "C": 10, "gamma": 1e-4}}
    stand_in = lambda case: chosen.get(case, setting)  # noqa: E731
    script = toys.load("two_opinions", SEEDS=(0, 1), ODD_PARTS=6, chosen=stand_in)
    cases = list(script.CASES)
    check_gone_on_with(toys, script, cases, ["good", "dirt"], stopped_at=5)
    for run in toys.read(script)["runs"]:
        names = script.CASES[run["settings"]["case"]]
        if len(names) == 2:  # two opinions let no more pass than either of them
            for kind, share in run["figures"].items():
                alone = [
                    other["figures"][kind]
                    for other in toys.read(script)["runs"]
                    if other["settings"] == {"case": names[0], "seed": run["settings"]["seed"]}
                ]
                assert kind == "seconds" or share <= min(alone)


# Accuracy against seconds


def test_accuracy(toys):
    toys.train_for(epochs=2)
    toys.load("triplets", N=64, LOOP_SIZES=dict.fromkeys(("appending", "flattening"), (10, 20, 40)))
    script = toys.load("accuracy", SEEDS=(0,), RATES=(1e-3, 2e-3), PER_CLASS=3, BATCH=30)
    cases = {
        case: (name, toys.counted(method), epochs)
        for case, (name, method, epochs) in script.CASES.items()
    }
    toys.patch.setattr(script, "CASES", cases)
    figures = ["pair_accuracy", "train_s"]
    check_gone_on_with(toys, script, cases, figures, stopped_at=5)
    assert toys.read(script)["notes"]["source_b_loops_s"]["value"] > 0


# What benchmarks share


@pytest.fixture
def script(tmp_path):
    """A benchmark that imports nothing."""
    file = tmp_path / "race.py"
    file.write_text("laps = 1\n", encoding="utf-8")
    return file


def change(script):
    script.write_text("laps = 2\n", encoding="utf-8")


def stored_of(record):
    return strictly(record.path.read_text(encoding="utf-8"))


def test_runs_of_another_origin_are_refused(recording, script, monkeypatch):
    recording.begin(script, "digits").add({"case": "a", "seed": 0}, {"share": 0.5})
    words = r"race\.json holds runs of .*'digits'.*, this would be .*'letters'.*; delete the file"
    with pytest.raises(SystemExit, match=words):
        recording.begin(script, "letters")
    with pytest.raises(SystemExit, match=r"this would be .*'scipy'"):
        recording.begin(script, "digits", "scipy")
    assert recording.begin(script, "digits").done({"case": "a", "seed": 0})
    monkeypatch.setattr(recording, "version", lambda package: "0.0+local")
    with pytest.raises(SystemExit, match=r"this would be .*'torch': '0\.0'"):
        recording.begin(script, "digits")


def test_what_other_code_noted_is_not_known_but_kept(recording, script):
    record = recording.begin(script, "digits")
    record.note({"ratio": 2.5})
    assert record.noted("ratio") == 2.5
    assert record.noted("other") is None
    script.write_text("laps = 1  # of four\n", encoding="utf-8")
    assert recording.begin(script, "digits").noted("ratio") == 2.5
    change(script)
    later = recording.begin(script, "digits")
    assert later.noted("ratio") is None
    assert later.notes() == {"ratio": 2.5}


def test_a_run_by_other_code_is_replaced_and_its_stamp_dropped_with_the_last(recording, script):
    settings = [{"case": "a", "seed": seed} for seed in range(2)]
    early = recording.begin(script, "digits")
    for one in settings:
        early.add(one, {"share": 0.25})
    change(script)
    late = recording.begin(script, "digits")
    assert not late.done(settings[0])
    late.add(settings[0], {"share": 0.75})
    assert late.done(settings[0])
    assert set(stored_of(late)["stamps"]) == {early.stamp, late.stamp}
    late.add(settings[1], {"share": 0.5})
    stored = stored_of(late)
    assert set(stored["stamps"]) == {late.stamp}
    assert [run["figures"]["share"] for run in stored["runs"]] == [0.75, 0.5]
    assert late.means(["share"]) == {"a": {"share": 0.625}}


def test_a_note_keeps_its_stamp(recording, script):
    early = recording.begin(script, "digits")
    early.note({"ratio": 2.5})
    change(script)
    late = recording.begin(script, "digits")
    late.add({"case": "a", "seed": 0}, {"share": 0.25})
    assert set(stored_of(late)["stamps"]) == {early.stamp, late.stamp}
    late.note({"ratio": 3.5})
    assert set(stored_of(late)["stamps"]) == {late.stamp}


def test_records_are_written_whole_or_not_at_all(recording, script, monkeypatch):
    record = recording.begin(script, "digits")
    record.add({"case": "a", "seed": 0}, {"share": 0.25})
    before = stored_of(record)
    write = Path.write_text

    def half(file, text, **settings):
        write(file, text[: len(text) // 2], **settings)
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        record.add({"case": "a", "seed": 1}, {"share": 0.5})
    monkeypatch.undo()
    assert stored_of(record) == before
    assert list(record.path.parent.iterdir()) == [record.path]


def git(folder, *words):
    name = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    command = ["git", "-C", str(folder), *name, *words]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def test_a_stamp_tells_commit_and_whether_code_was_committed(recording, script):
    checkout = recording.FOLDER.parent.parent
    checkout.mkdir(parents=True)
    git(checkout, "init", "--quiet")
    (checkout / "notes.txt").write_text("no code", encoding="utf-8")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "first")

    def told():
        record = recording.begin(script, "digits")
        record.add({"case": "a", "seed": 0}, {"share": 0.25})
        return stored_of(record)["stamps"][record.stamp]

    assert told()["uncommitted"] is False
    assert told()["commit"] == git(checkout, "rev-parse", "HEAD")
    assert told()["modules"] == provenance.modules_of(script)
    (checkout / "code.py").write_text("", encoding="utf-8")
    assert told()["uncommitted"] is True


def test_runs_are_shown_as_means_over_seeds(recording, script, capsys):
    record = recording.begin(script, "digits")
    for seed, share in enumerate((0.25, 0.75)):
        record.add({"case": "a", "seed": seed, "images": 9}, {"share": share})
    recording.show(record, "images")
    *_, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["a", "9", "0.5", "0.3536"]


def test_seconds_of_a_call(measuring):
    seconds, words = measuring.seconds_of(lambda *words, end: (*words, end), "a", "b", end="c")
    assert words == ("a", "b", "c")
    assert 0 <= seconds < 1
    seconds, _ = measuring.seconds_of(time.sleep, 0.05)
    assert 0.04 < seconds < 5


@contextmanager
def held(mib):
    """So much more memory in use, which the kernel gets back."""
    with mmap.mmap(-1, mib * 2**20) as memory:
        for page in range(0, len(memory), mmap.PAGESIZE):
            memory[page] = 1
        yield


@needs_account
def test_memory_of_this_process(measuring):
    measuring.forget_peak()
    before, peak = measuring.memory("VmRSS"), measuring.memory("VmHWM")
    with held(64):
        assert measuring.memory("VmRSS") - before == pytest.approx(64, abs=8)
    assert measuring.memory("VmRSS") - before == pytest.approx(0, abs=8)
    assert measuring.memory("VmHWM") - peak == pytest.approx(64, abs=8)
    measuring.forget_peak()
    assert measuring.memory("VmHWM") - peak == pytest.approx(0, abs=8)


def test_peak_of_tensors(measuring):
    def one_after_another():
        for _ in range(3):
            torch.ones(2**18)

    def together():
        return [torch.ones(2**18) for _ in range(3)]

    assert measuring.peak_of(one_after_another) == pytest.approx(1, abs=0.01)
    assert measuring.peak_of(together) == pytest.approx(3, abs=0.01)


# The cover


@pytest.mark.filterwarnings("ignore::UserWarning")  # a toy station deserves doubt
def test_the_cover_is_drawn(toys, tmp_path):
    script = toys.load("draw_cover", FILE=tmp_path / "cover.svg")
    toys.patch.setattr(script, "MAP_CNN", replace(script.MAP_CNN, batch=2))
    toys.patch.setattr(script, "named_images", lambda split, rows: few_parts_seen(split).take(rows))
    with plt.rc_context():
        script.main()
        plt.close("all")
    assert toys.said()[-1].startswith("wrote cover.svg, ")
    drawing = ElementTree.parse(script.FILE).getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    text = script.FILE.read_text(encoding="utf-8")
    for words in ("three cameras see a part", "its map, pin by pin", "its place among others"):
        assert words in text
