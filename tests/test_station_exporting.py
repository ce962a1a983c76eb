"""A station as one ONNX file: what it says is what the station says, and nothing else is needed."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
from drawn_parts import frames, write
from PIL import Image
from test_station_of_arrays import CALIBRATION, SETTINGS, TRAIN, flat
from torch import nn

from snnlib.backbones import small_cnn
from snnlib.station.exporting import export_station, in_int8
from snnlib.station.features import MapFeatures
from snnlib.station.judging import FORMAT, METADATA, PARTS, Judge, load_judge, sealed
from snnlib.station.learning import fine_tuned, from_scratch, with_head
from snnlib.station.parts import Parts
from snnlib.station.saving import save_station
from snnlib.station.station import Station
from snnlib.station.verdict import INVALID, UNKNOWN

LOTS = {("a", "OK"): 30, ("a", "dent"): 8, ("a", "バリ"): 8, ("b", "OK"): 22, ("b", "dent"): 4}
DRAWN = {"バリ": "scratch"}
NUMBERS = ("score", "distance", "second_distance", "to_good", "strangest")
WORDS = ("verdict", "nearest", "second", "why")
EXACT = 1e-5


def fit(parts, **settings):
    defaults = {"size": 64, "false_alarms": 0.05, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Station.fit(parts, **(defaults | settings))


def in_whole_numbers(station, parts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return in_int8(station, parts)


def exported(station, file):
    export_station(station, file)
    return load_judge(file)


def assert_same(rows, table):
    """The same verdicts, for the same reasons, with scores as near as single precision has them."""
    assert len(rows) == len(table)
    assert [*rows[0]] == table.columns.tolist()
    for name in WORDS:
        assert [row[name] for row in rows] == table[name].tolist(), name
    for name in NUMBERS:
        if name in table:
            np.testing.assert_allclose([row[name] for row in rows], table[name], rtol=EXACT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    for k, ((lot, name), count) in enumerate(LOTS.items()):
        write(folder / lot / name, frames(count, (0, k), DRAWN.get(name, name)))
    return folder


@pytest.fixture(scope="module")
def station(folder):
    return fit(folder)


@pytest.fixture(scope="module")
def judge(station, tmp_path_factory):
    return exported(station, tmp_path_factory.mktemp("onnx") / "cell.onnx")


@pytest.fixture(scope="module")
def small(station, folder):
    return in_whole_numbers(station, Parts.read(folder))


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """Good and bad parts, one of a defect that is not known, and all that can't be judged."""
    folder = tmp_path_factory.mktemp("new")
    kinds = ("OK", "dent", "scratch", "stain")
    write(folder, np.concatenate([frames(8, (9, k), kind) for k, kind in enumerate(kinds)]))
    write(folder, frames(2, 5, light=220.0), first=50)  # too bright
    grey = Image.fromarray(frames(1, 6)[0]).convert("L")
    grey.save(folder / "060.png")
    grey.resize((96, 80)).save(folder / "061.jpg")
    grey.convert("P").save(folder / "062.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(folder / "063.png")
    (folder / "064.png").write_bytes(b"no photograph")
    return folder


SETTINGS_OF_STATIONS = {
    "with evidence": {},
    "distance alone": {"evidence": False},
    "grey": {"grey": True},
    "cut": {"crop": (4, 2, 60, 58), "size": (48, 40)},
    "conformal": {"method": "conformal"},
    "a head": {"features": partial(with_head, epochs=5)},
    "tuned": {"features": partial(fine_tuned, epochs=1)},
    "from scratch": {"features": partial(from_scratch, epochs=1)},
    "means and maxima": {"features": MapFeatures(small_cnn(seed=0), pools=("mean", "max"))},
}


@pytest.mark.parametrize("settings", SETTINGS_OF_STATIONS.values(), ids=SETTINGS_OF_STATIONS)
def test_the_file_says_what_the_station_says(folder, new, settings, tmp_path):
    station = fit(folder, **settings)
    judge = exported(station, tmp_path / "cell.onnx")
    table = station.judge(new)
    # Where pixels have 16 bits, a station made from 8 would stretch them, and the file has no room.
    (deep,) = [k for k, file in enumerate(table.file) if file.endswith("063.png")]
    rows = judge.judge(new)
    assert rows.pop(deep)["verdict"] == INVALID
    assert_same(rows, table.drop(index=deep))
    assert {INVALID, "OK"} < set(table.verdict)
    assert (judge.good, judge.limit) == ("OK", station.limit)
    assert judge.shape == station.shape
    assert judge.preparation == station.preparation


def test_several_anchors_a_class_and_good_parts_only(folder, new, station, tmp_path):
    anchors = replace(
        station.anchors,
        points=np.vstack([station.anchors.points, station.anchors.points + 0.5]),
        names=np.tile(station.anchors.names, 2),
        errors=np.tile(station.anchors.errors, 2),
    )
    several = replace(station, anchors=anchors)
    files = [file for file in sorted(new.iterdir()) if "063" not in file.name]
    judge = exported(several, tmp_path / "several.onnx")
    assert_same(judge.judge(files), several.judge(files))
    lone = fit(Parts.read(folder, classes=["OK"]))
    judge = exported(lone, tmp_path / "lone.onnx")
    table = lone.judge(files)
    assert_same(judge.judge(files), table)
    assert UNKNOWN in set(table.verdict)


def test_a_defect_that_was_taught_is_in_the_file(station, tmp_path):
    taught = station.with_defect("stain", frames(5, 31, "stain"))
    judge = exported(taught, tmp_path / "taught.onnx")
    shown = frames(6, 32, "stain")
    assert_same(judge.judge(shown), taught.judge(shown))
    assert [row["verdict"] for row in judge.judge(shown)].count("stain") >= 5


def test_photographs_of_12_bits(folder, tmp_path):
    for file in folder.rglob("*.png"):
        deep = tmp_path / "deep" / file.relative_to(folder)
        deep.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            values = np.asarray(image.convert("L")).astype(np.uint16) * 16
        Image.fromarray(values).save(deep)
    station = fit(tmp_path / "deep", bits=12, evidence=False)
    judge = exported(station, tmp_path / "cell.onnx")
    assert judge.session.get_inputs()[0].type == "tensor(uint16)"
    files = [*Parts.read(tmp_path / "deep").files[::5], next(folder.rglob("*.png"))]  # of 8, too
    assert_same(judge.judge(files), station.judge(files))


def test_a_station_made_from_both_depths_keeps_probes_in_16_bits(folder, tmp_path):
    for lot in ("a", "b"):
        write(tmp_path / lot / "OK", frames(12, (3, ord(lot))))
    for file in (tmp_path / "a" / "OK").iterdir():
        with Image.open(file) as image:
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(file)
    station = fit(tmp_path)
    assert station.probes.dtype == np.uint16
    assert 0.3 < station.probes.mean() / 65535 < 0.7  # and not 1/257 of it
    exported(station, tmp_path / "cell.onnx")


def test_a_part_is_explained_as_the_station_explains_it(station, judge, new):
    files = sorted(new.iterdir())
    for file in (files[0], files[9], files[32]):  # good, dented, too bright
        ours, theirs = judge.explain(file), station.explain(file)
        assert repr(ours) == repr(theirs)
        assert (ours.passes, ours.place, ours.tiled) == (theirs.passes, theirs.place, False)
        np.testing.assert_array_equal(ours.seen, theirs.seen)
        if theirs.heat is None:
            assert ours.heat is None
        else:
            np.testing.assert_allclose(ours.heat, theirs.heat, rtol=EXACT)
    with pytest.raises(ValueError, match=r"064\.png can't be read"):
        judge.explain(files[-1])
    (frame,) = frames(1, 77, "dent")
    assert judge.explain(frame).name == station.explain(frame).name


def test_the_part_that_set_the_limit_passes(station, judge, folder):
    """Its score is the limit itself, and last digits must not stop it."""
    aside = sorted((folder / "b" / "OK").iterdir())
    scores = station.judge(aside).score
    (at_the_limit,) = np.flatnonzero(np.isclose(scores, station.limit, rtol=1e-4))
    assert judge.judge([aside[at_the_limit]])[0]["verdict"] == "OK"
    barely = replace(station, rule=replace(station.rule, limit=station.limit * (1 - 1e-3)))
    assert barely.judge([aside[at_the_limit]]).verdict[0] == UNKNOWN


# Arrays


class Front(nn.Module):
    def forward(self, images):
        return 2 * images


@pytest.mark.parametrize("front", [None, Front()], ids=["bare", "front"])
def test_a_station_of_arrays(front, tmp_path):
    station = Station.of_encoder(flat(), TRAIN, CALIBRATION, front=front, **SETTINGS)
    judge = exported(station, tmp_path / "cell.onnx")
    assert isinstance(judge, Judge)
    assert_same(judge.judge(TRAIN.images), station.judge(TRAIN.images))
    assert judge.explain(TRAIN.images[0]).heat is None  # tiles are not in the file
    with pytest.raises(ValueError, match="on another scale"):
        judge.judge(1000 * TRAIN.images)
    with pytest.raises(TypeError, match="floating"):
        judge.judge((255 * TRAIN.images).astype(np.uint8))


# The file


def test_what_the_file_tells(station, judge):
    told = judge.told
    assert told["classes"] == ["OK", "dent", "バリ"]
    assert told["rule"] == vars(station.rule)
    assert told["made"] == station.made
    assert told["doubts"] == list(station.doubts)
    assert told["whole_numbers"] is False
    assert [end.name for end in judge.session.get_outputs()] == [
        "strangest", "heat", "measured", "verdict", "score", "distances",
    ]  # fmt: skip
    (taken,) = judge.session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == (PARTS, "tensor(uint8)", ["n", 3, 64, 64])


def test_the_file_is_a_valid_model(station, tmp_path):
    export_station(station, tmp_path / "cell.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "cell.onnx"), full_check=True)


def test_several_parts_at_once_as_one_by_one(station, judge):
    pixels = frames(5, 3).transpose(0, 3, 1, 2)
    pixels = np.ascontiguousarray(pixels)
    at_once = judge.session.run(["score", "verdict"], {PARTS: pixels})
    alone = [judge.session.run(["score", "verdict"], {PARTS: pixels[[k]]}) for k in range(5)]
    np.testing.assert_allclose(at_once[0], [score[0] for score, _ in alone], rtol=EXACT)
    assert at_once[1].tolist() == [verdict[0] for _, verdict in alone]


def rewritten(station, file, **changes):
    export_station(station, file)
    model = onnx.load(file)
    (told,) = [entry for entry in model.metadata_props if entry.key == METADATA]
    told.value = json.dumps(json.loads(told.value) | {"checksum": "0" * 64} | changes)
    file.write_bytes(sealed(model.SerializeToString()))


def test_files_that_are_none(station, tmp_path):
    file = tmp_path / "cell.onnx"
    with pytest.raises(FileNotFoundError, match="no station in"):
        load_judge(file)
    file.write_bytes(b"no model")
    with pytest.raises(ValueError, match="no ONNX file of a station, or a damaged one"):
        load_judge(file)
    rewritten(station, file, library="snnlib 9")
    assert load_judge(file).told["library"] == "snnlib 9"
    rewritten(station, file, format=FORMAT + 1, library="snnlib 9")
    with pytest.raises(ValueError, match=f"by snnlib 9 in format {FORMAT + 1}"):
        load_judge(file)
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.save(model, file)
    with pytest.raises(ValueError, match="no ONNX file of a station"):
        load_judge(file)
    with pytest.raises(ValueError, match="no place for a checksum"):
        sealed(file.read_bytes())


def test_a_single_bit_that_has_changed(station, tmp_path):
    """Every one of 400, all over the file; and every length that it may be cut to."""
    file = tmp_path / "cell.onnx"
    export_station(station, file)
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    end = content.rindex(b'"checksum"')  # metadata come last, and are short
    places = [*rng.integers(0, len(content), 250), *rng.integers(end, len(content), 150)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
        with pytest.raises(ValueError, match="damaged"):
            load_judge(file)
    for length in rng.integers(0, len(content), 20):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged"):
            load_judge(file)
    file.write_bytes(content)
    load_judge(file)


def test_a_graph_that_says_other_things_is_not_written(station, tmp_path, monkeypatch):
    file = tmp_path / "cell.onnx"
    file.write_text("what was there", encoding="utf-8")
    monkeypatch.setattr(
        "snnlib.station.exporting._measured_in",
        lambda graph, images: graph.constant(np.zeros((len(station.probes), 2), np.float32)),
    )
    with pytest.raises(ValueError, match=r"on its probe 0 'INVALID' .* expected 'OK'"):
        export_station(station, file)
    assert file.read_text(encoding="utf-8") == "what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["cell.onnx"]


def test_features_without_onnx(station, tmp_path):
    class Others:
        def describe(self, images):
            return images.mean((2, 3)), None

    with pytest.raises(TypeError, match="features of the kind Others"):
        export_station(replace(station, features=Others()), tmp_path / "cell.onnx")
    odd = MapFeatures(station.features.backbone, nn.Softmax(dim=1))
    with pytest.raises(TypeError, match="a layer of the kind Softmax"):
        export_station(replace(station, features=odd), tmp_path / "cell.onnx")
    assert not list(tmp_path.iterdir())


# Whole numbers


def test_in_whole_numbers(station, small, new, tmp_path):
    large, judge = (
        exported(one, tmp_path / name)
        for one, name in ((station, "large.onnx"), (small, "small.onnx"))
    )
    assert judge.told["whole_numbers"] is True
    assert not large.told["whole_numbers"]
    sizes = [(tmp_path / name).stat().st_size for name in ("large.onnx", "small.onnx")]
    assert sizes[1] < 0.4 * sizes[0]
    files = [file for file in sorted(new.iterdir()) if "063" not in file.name]
    assert_same(judge.judge(files), small.judge(files))
    # All that rests on features was learned again.
    assert small.limit != station.limit
    assert not np.array_equal(small.metric.matrix_, station.metric.matrix_)
    assert small.rule.calibration == station.rule.calibration
    assert small.made["data"] == station.made["data"]
    assert small.anchors.classes == station.anchors.classes
    verdicts = [one.judge(files[:24]).verdict for one in (station, small)]
    assert (verdicts[0] == verdicts[1]).mean() >= 0.8


def test_no_processor_overflows(small, tmp_path):
    """Two products of 8 by 7 bits fit into 16; weights of 8 bits would not."""
    export_station(small, tmp_path / "small.onnx")
    graph = onnx.load(tmp_path / "small.onnx").graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    convolutions = [arrays[n.input[0]] for n in graph.node if n.op_type == "DequantizeLinear"
                    and n.input[0] in arrays and arrays[n.input[0]].ndim == 4]  # fmt: skip
    assert len(convolutions) == 28  # of 33, whose first five stay in floating point
    for weights in convolutions:
        assert weights.dtype == np.int8
        assert np.abs(weights.astype(int)).max() <= 64


def test_taught_defects_are_taught_again(station, folder, tmp_path):
    files = write(tmp_path / "stain", frames(5, 31, "stain"))
    taught = station.with_defect("stain", files)
    everything = Parts.read(folder).join(Parts.of(files))
    small = in_whole_numbers(taught, everything)
    assert small.anchors.classes == ["OK", "dent", "stain", "バリ"]
    assert small.made["taught"]["stain"]["marks"] == taught.made["taught"]["stain"]["marks"]
    assert (small.judge(frames(6, 32, "stain")).verdict == "stain").sum() >= 5
    with pytest.raises(ValueError, match=r"5 of the 77 photographs .* are missing"):
        in_int8(taught, Parts.read(folder))


def test_whole_numbers_from_other_photographs_are_refused(station, folder, tmp_path):
    parts = Parts.read(folder)
    with pytest.raises(ValueError, match="1 of the 72 photographs"):
        in_int8(station, parts.take(np.arange(1, len(parts))))
    (other,) = write(tmp_path, frames(1, 99))
    with pytest.raises(ValueError, match=r"was not made from .*000\.png, one of 1 such"):
        in_int8(station, parts.join(Parts.of([other], name="OK")))
    nameless = parts.join(Parts.of([other]))  # which `fit` leaves out, too
    assert in_whole_numbers(station, nameless).made["parts"] == 72


def test_what_can_not_be_whole_numbers(small, folder, tmp_path):
    arrays = Station.of_encoder(flat(), TRAIN, CALIBRATION, **SETTINGS)
    with pytest.raises(TypeError, match="got EmbeddingFeatures"):
        in_int8(arrays, Parts.read(folder))
    with pytest.raises(TypeError, match="kept as ONNX"):
        save_station(small, tmp_path / "cell.station")


# Nothing else


def test_a_judge_loads_neither_pytorch_nor_scikit_learn(station, tmp_path):
    export_station(station, tmp_path / "cell.onnx")
    (file,) = write(tmp_path / "new", frames(1, 9, "dent"))
    code = (
        "import sys; from snnlib.station.judging import load_judge; "
        f"print(load_judge({str(tmp_path / 'cell.onnx')!r}).judge({str(file)!r})[0]['verdict']); "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert said[0] == "dent"
    assert not {"torch", "sklearn", "scipy", "pandas", "onnx"} & set(said[1].split())
