"""A verdict can be traced: to its picture, its time, the station and the rule."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest

from snnlib.station.judging import Judge
from snnlib.station.parts import Parts
from snnlib.station.provenance import library, marks
from snnlib.station.rule import Rule
from snnlib.station.tracing import picture_hash, trace_of, traced

RULE = {
    "limit": 1.25,
    "method": "conformal",
    "false_alarms": 0.01,
    "parts": 200,
    "calibration": "200 good parts of lot 'b'",
}
MADE = {"date": "2025-01-31T08:00:00+00:00", "data": "0123456789abcdef" * 4}
NOON = datetime(2025, 2, 1, 12, 0, 0, 999, tzinfo=UTC)
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"any bytes")
    assert picture_hash(file) == "sha256:" + hashlib.sha256(b"any bytes").hexdigest()[:16]
    assert picture_hash(str(file)) == picture_hash(file.rename(tmp_path / "b.png"))
    file.write_bytes(b"any byteS")
    assert picture_hash(file) != picture_hash(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError):
        picture_hash(tmp_path / "gone.png")


@pytest.mark.parametrize(
    "other",
    [PIXELS.astype(np.int8), PIXELS.reshape(4, 2, 3), PIXELS.ravel(), PIXELS + np.uint8(1)],
)
def test_type_shape_and_values_count(other):
    assert picture_hash(other) != picture_hash(PIXELS)


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray(PIXELS), np.repeat(PIXELS, 2, axis=1)[:, ::2], PIXELS[::-1].copy()[::-1]],
)
def test_the_layout_in_memory_does_not_count(layout):
    assert not layout.flags.c_contiguous
    assert picture_hash(layout) == picture_hash(PIXELS)


def test_a_hash_is_the_mark_by_which_a_station_knows_its_parts(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"any bytes")
    (of_file,), (of_pixels,) = marks(Parts.of([file])), marks(PIXELS[None])
    assert [picture_hash(file), picture_hash(PIXELS)] == [
        f"sha256:{of_file:016x}",
        f"sha256:{of_pixels:016x}",
    ]


def test_a_trace_is_the_same_whoever_judges(tmp_path):
    file = tmp_path / "cell.station"
    file.write_bytes(b"a station")
    station = SimpleNamespace(rule=Rule(**RULE), made=MADE)
    trace = trace_of(station, file)
    assert trace == {
        "station": picture_hash(file),
        "made": MADE["date"],
        "data": "sha256:0123456789abcdef",
        "library": f"snnlib {version('snnlib')}",
        "method": "conformal",
        "false_alarms": 0.01,
        "limit": 1.25,
    }
    assert trace["library"] == library()
    assert trace_of(Judge(None, {"rule": RULE, "made": MADE}), file) == trace
    assert trace_of(station, None) == trace | {"station": ""}


def test_each_row_carries_all(tmp_path):
    trace = {"station": "0123456789abcdef", "limit": 1.25}
    rows = [{"verdict": "OK"}, {"verdict": "INVALID"}]
    found = traced(rows, [PIXELS, tmp_path / "gone.png"], trace, NOON)
    common = {"time": "2025-02-01T12:00:00Z"} | trace
    assert found == [
        {"verdict": "OK", "picture": picture_hash(PIXELS)} | common,
        {"verdict": "INVALID", "picture": ""} | common,
    ]
    assert rows == [{"verdict": "OK"}, {"verdict": "INVALID"}]  # left as they were
    assert [*found[0]] == ["verdict", "picture", "time", "station", "limit"]


def test_time_is_told_in_utc():
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    (row,) = traced([{}], [PIXELS], {}, tokyo)
    assert row["time"] == "2025-02-01T12:00:00Z"
    (row,) = traced([{}], PIXELS[None], {})
    assert abs(datetime.fromisoformat(row["time"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_can_not_be_traced():
    with pytest.raises(ValueError, match="needs a time zone, got 2025-02-01T12:00:00"):
        traced([{}], [PIXELS], {}, NOON.replace(tzinfo=None))
    with pytest.raises(ValueError, match="a picture for each of 2 rows, got 1"):
        traced([{}, {}], [PIXELS], {})
