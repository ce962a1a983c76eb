"""The file of a station: what is written comes back, and what has changed is refused."""

import hashlib
import json
import re
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from drawn_parts import write_lots
from hypothesis import given
from hypothesis import strategies as st
from test_station_of_arrays import CALIBRATION, SETTINGS, TRAIN, flat

from snnlib.station import station_file
from snnlib.station.parts import Parts
from snnlib.station.provenance import library, marks, provenance, thumbprint
from snnlib.station.saving import load_station, save_station
from snnlib.station.station import Station
from snnlib.station.station_file import FORMAT, read_station_file, write_station_file

STATE = {
    "good": "良品",
    "rule": {"limit": 0.5, "strange_scale": None, "parts": 20},
    "doubts": ["one", "another"],
    "anchors": {"points": np.arange(6, dtype=np.float32).reshape(2, 3), "names": ["a", "b"]},
    "probes": [np.arange(4, dtype=np.uint8), np.array(3)],
    "grey": True,
}


@pytest.fixture
def file(tmp_path):
    write_station_file(STATE, tmp_path / "cell.station", "snnlib 1.0")
    return tmp_path / "cell.station"


@pytest.fixture
def station():
    return Station.of_encoder(flat(), TRAIN, CALIBRATION, **SETTINGS)


def rewritten(file, change, *, sealed=True, **settings):
    """The same file with other words or tensors; with a checksum that is right if it is sealed."""
    with zipfile.ZipFile(file) as archive:
        told = json.loads(archive.read("station.json"))
        content = archive.read("tensors.safetensors")
    content = change(told, content) or content
    if sealed:
        told.pop("checksum")
        told["tensors"] = station_file._digest(content)
        told["checksum"] = station_file._digest(station_file._plain(told))
    with zipfile.ZipFile(file, "w", **settings) as archive:
        archive.writestr("tensors.safetensors", content)
        archive.writestr("station.json", json.dumps(told))


def assert_same(one, other):
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other):
            assert_same(mine, theirs)
    else:
        assert one == other
        assert type(one) is type(other)


def test_what_was_written_comes_back(file):
    assert_same(STATE, read_station_file(file))
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


KEYS = st.text(min_size=1) | st.sampled_from(["0", "0.0", "tensor"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([np.zeros((0, 2)), np.float32([1, 2]), np.array(7)]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(state=st.dictionaries(st.sampled_from("abc"), VALUES))
def test_any_state_comes_back(tmp_path_factory, state):
    if re.search(r"\{'tensor': ['\"]", str(state)):  # which is refused
        return
    file = tmp_path_factory.mktemp("any") / "a.station"
    write_station_file(state, file, "snnlib")
    assert_same(state, read_station_file(file))


def test_names_that_look_like_those_of_tensors(tmp_path):
    """A class may be named so, and a key may hold a full stop: nothing is taken for another."""
    file = tmp_path / "a.station"
    one, other = np.zeros(2), np.ones(2)
    state = {
        "classes": {"tensor": 3},
        "taught": {"tensor": {"parts": 5}},
        "a": {"b": one},
        "a.b": other,
    }
    write_station_file(state, file, "snnlib")
    assert_same(state, read_station_file(file))
    with pytest.raises(ValueError, match=r"can't be kept whose made is \{'tensor': 'a'\}"):
        write_station_file({"made": {"tensor": "a"}}, file, "snnlib")


def test_a_person_can_read_the_words(file):
    with zipfile.ZipFile(file) as archive:
        assert sorted(archive.namelist()) == ["station.json", "tensors.safetensors"]
        text = archive.read("station.json").decode()
    assert '"good": "良品"' in text
    assert json.loads(text)["station"]["rule"]["limit"] == 0.5


def test_numbers_of_numpy_become_plain_ones(tmp_path):
    file = tmp_path / "a.station"
    write_station_file({"limit": np.float64(0.25), "parts": np.int64(3)}, file, "snnlib")
    assert_same({"limit": 0.25, "parts": 3}, read_station_file(file))


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"rule": {"limit": np.nan}}, "rule.limit is nan"),
        ({"rule": {"limit": np.float32(np.inf)}}, "rule.limit is inf"),
        ({"anchors": [np.array([1, np.nan])]}, "anchors.0 is not finite"),
    ],
)
def test_what_is_not_finite_is_not_kept(file, state, where):
    before = file.read_bytes()
    with pytest.raises(ValueError, match=where):
        write_station_file(state, file, "snnlib")
    assert file.read_bytes() == before


def test_every_flipped_bit_is_found(station, tmp_path):
    """Each is refused, or lies where it changes nothing that is read."""
    file = tmp_path / "cell.station"
    save_station(station, file)
    whole, before = file.read_bytes(), read_station_file(file)
    rng, refused = np.random.default_rng(0), 0
    for place in rng.choice(8 * len(whole), 400, replace=False).tolist():
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        file.write_bytes(changed)
        try:
            read = read_station_file(file)
        except ValueError:
            refused += 1
        else:
            assert_same(before, read)
    assert refused > 350


def test_a_file_cut_short_is_refused(file):
    whole = file.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="can't be read: it is no file of a station"):
            read_station_file(file)
    with pytest.raises(ValueError, match=r"none\.station can't be read \(No such file"):
        read_station_file(file.with_name("none.station"))


@pytest.mark.parametrize(
    ("number", "advice"),
    [(FORMAT + 1, "install one that is"), (FORMAT - 1, "make the station again"), ("x", "make")],
)
def test_a_file_of_another_version_says_what_to_do(file, number, advice):
    def other(told, content):
        told["format"], told["library"] = number, "snnlib 9.9"

    rewritten(file, other)
    words = rf"written by snnlib 9\.9 in format {number}, .*: {advice}"
    with pytest.raises(ValueError, match=words):
        read_station_file(file)


@pytest.mark.parametrize("words", ["[]", "{}", '{"format": 1}'])
def test_other_archives_are_no_stations(file, words):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("station.json", words)
        archive.writestr("tensors.safetensors", b"")
    with pytest.raises(ValueError, match=r"is no file of a station: its station\.json says other"):
        read_station_file(file)


def test_changed_words_and_tensors_are_told_apart(file):
    def words(told, content):
        told["station"]["good"] = "bad"

    def tensors(told, content):
        return content[:-1] + bytes([content[-1] ^ 1])

    whole = file.read_bytes()
    for change, member in [(words, "station.json"), (tensors, "tensors.safetensors")]:
        file.write_bytes(whole)
        rewritten(file, change, sealed=False)
        with pytest.raises(ValueError, match=f"is damaged: its {member} is not what was written"):
            read_station_file(file)


def test_a_file_packed_by_another_system_is_read(file):
    """Other order, other layout of the words, compressed."""
    rewritten(file, lambda *_: None, compression=zipfile.ZIP_DEFLATED)
    assert_same(STATE, read_station_file(file))


def test_two_savers_do_not_mix_their_stations(tmp_path):
    file = tmp_path / "cell.station"
    states = [{"good": name, "points": np.full(5000, k)} for k, name in enumerate("ab")]

    def save(state):
        for _ in range(30):
            write_station_file(state, file, "snnlib")

    savers = [threading.Thread(target=save, args=(state,)) for state in states]
    for saver in savers:
        saver.start()
    while any(saver.is_alive() for saver in savers):
        if file.exists():
            read = read_station_file(file)
            assert_same(states["ab".index(read["good"])], read)
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


# The station itself


def swapped(told, content):
    names = told["station"]["anchors"]["names"]
    names[0], names[1] = names[1], names[0]


def another_limit(told, content):
    told["station"]["rule"]["distance_scale"] = 2.0


@pytest.mark.parametrize("change", [swapped, another_limit])
def test_a_station_that_judges_its_probes_otherwise_is_refused(station, tmp_path, change):
    file = tmp_path / "cell.station"
    save_station(station, file)
    rewritten(file, change)
    with pytest.raises(ValueError, match="gives another verdict than when it was written"):
        load_station(file, flat())


def test_a_station_of_another_network_of_the_same_shape_is_refused(station, tmp_path):
    file, other = tmp_path / "cell.station", tmp_path / "other.station"
    save_station(station, file)
    shuffled = flat()
    shuffled[1].weight.data = shuffled[1].weight.data.flip(0, 1) * 2
    save_station(Station.of_encoder(shuffled, TRAIN, CALIBRATION, **SETTINGS), other)
    state, its = read_station_file(file), read_station_file(other)
    state["features"] = its["features"]
    write_station_file(state, file, library())
    with pytest.raises(ValueError, match="gives another verdict than when it was written"):
        load_station(file, flat())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": -1.0}, "limit must be at least 0"),
        ({"distance_scale": 0.0}, "scales must be positive"),
    ],
)
def test_values_out_of_range_are_refused(station, tmp_path, change, message):
    file = tmp_path / "cell.station"
    save_station(station, file)
    rewritten(file, lambda told, content: told["station"]["rule"].update(change))
    with pytest.raises(ValueError, match=message):
        load_station(file, flat())


def test_probes_are_good_calibration_parts_and_one_of_each_defect(station):
    kept = CALIBRATION.images[CALIBRATION.names == "good"][:4]
    np.testing.assert_array_equal(station.probes[:4], kept)
    first = [TRAIN.images[TRAIN.names.tolist().index(name)] for name in ("bent", "worn")]
    np.testing.assert_array_equal(station.probes[4:], first)
    told = station.judge_probes()
    assert told.verdict.tolist() == station.judge(station.probes).verdict.tolist()


def test_where_a_station_comes_from(station, tmp_path):
    made = station.made
    assert made["parts"] == len(TRAIN) + len(CALIBRATION)
    assert made["classes"] == {"bent": 230, "good": 230, "worn": 230}
    assert made["library"] == library() == "snnlib 0.1.0"
    again = provenance(TRAIN, CALIBRATION)
    assert (again["data"], again["code"]) == (made["data"], made["code"])
    assert provenance(CALIBRATION, TRAIN)["data"] != made["data"]
    taught = station.with_defect("chipped", TRAIN.images[:5] + 0.3)
    assert taught.made["taught"]["chipped"]["parts"] == 5
    assert "taught" not in station.made
    save_station(taught, tmp_path / "cell.station")
    assert load_station(tmp_path / "cell.station", flat()).made == taught.made


def test_thumbprints_tell_parts_apart():
    other = replace(TRAIN, images=TRAIN.images + np.float32(1e-3))
    named = replace(TRAIN, labels=TRAIN.labels[::-1].copy())
    prints = {thumbprint(parts) for parts in (TRAIN, other, named, TRAIN.images)}
    assert len(prints) == 4
    assert thumbprint(TRAIN) == thumbprint(TRAIN.take(np.arange(len(TRAIN))))


def test_marks_know_a_part_again(tmp_path):
    folder = write_lots(tmp_path / "a", {("a", "OK"): 3, ("b", "OK"): 2})
    parts = Parts.read(folder)
    known = marks(parts)
    assert (known.dtype, len(set(known.tolist()))) == (np.dtype(np.uint64), 5)
    moved = parts.files[1].rename(folder / "b" / "OK" / "another name.png")
    assert marks(Parts.of([moved])) == known[[1]]
    first = hashlib.sha256(moved.read_bytes()).hexdigest()[:16]
    assert f"{known[1]:016x}" == first
    assert np.array_equal(marks(parts.take([0]), parts.take([2, 3])), known[[0, 2, 3]])
    assert len(np.unique(marks(TRAIN))) == len(TRAIN)
    assert np.array_equal(marks(TRAIN.images), marks(TRAIN))
    assert len(marks()) == 0


def test_the_thumbprint_of_files_does_not_depend_on_where_they_lie(tmp_path):
    first, second = (write_lots(tmp_path / name, {("a", "OK"): 3}) for name in ("one", "other"))
    assert thumbprint(Parts.read(first)) == thumbprint(Parts.read(second))
    file = next((second / "a" / "OK").iterdir())
    file.write_bytes(file.read_bytes() + b" ")
    assert thumbprint(Parts.read(first)) != thumbprint(Parts.read(second))
    (second / "a").rename(second / "b")
    assert len({thumbprint(Parts.read(folder)) for folder in (first, second)}) == 2
