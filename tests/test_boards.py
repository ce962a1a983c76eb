"""Pairs of boards: where they come from, how they are cut, and what the drawn ones are like."""

import io
import os
import re
from dataclasses import replace
from pathlib import Path

import board_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from small_boards import random_boards

from snnlib.boxes import Boxes
from snnlib.data import boards, drawn_boards
from snnlib.data.boards import BOARD_SPLITS, KINDS, SIDE, BoardSet, load_boards

SIZES = {"train": 270, "validation": 30, "test": 100}  # of the stand-in
MIRROR = os.environ.get("SNNLIB_DATA")  # before a test puts its own in its place
needs_real_boards = pytest.mark.skipif(
    not MIRROR or not (Path(MIRROR) / "deeppcb").is_dir(), reason="the mirror has no DeepPCB"
)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """No mirror unless a test names one."""
    monkeypatch.delenv("SNNLIB_DATA", raising=False)


@pytest.fixture(scope="module")
def parts():
    return {split: load_boards(split, source="standin") for split in BOARD_SPLITS}


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setenv("SNNLIB_DATA", MIRROR)


# A few boards, stored in the two ways.


def grey_levels(seed):
    """A board as it is photographed: bright and dark, nothing near the level of the cut."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((10, 10)) < 0.5
    return np.where(np.kron(coarse, np.ones((64, 64))), 235, 20).astype(np.uint8)


def stored(picture, kind):
    file = io.BytesIO()
    image = Image.fromarray(picture)
    image.save(file, format=kind, **({"quality": 98} if kind == "JPEG" else {}))
    return file.getvalue()


def rows(n):
    for number in range(n):
        yield {
            "name": f"{number:05d}",
            "group": f"group{number % 2:05d}",
            "template": grey_levels(2 * number),
            "tested": grey_levels(2 * number + 1),
            # One board has no defect.
            "boxes": [[8 * k, 10, 8 * k + 30, 45 + k] for k in range(number % 4)],
            "kinds": [(number + k) % 6 for k in range(number % 4)],
        }


def write_parquet(folder, changes=lambda row: row):
    folder.mkdir(parents=True)
    for split, n in (("train", 12), ("test", 5)):
        table = [changes(row) for row in rows(n)]
        for row in table:
            for half in ("template", "tested"):
                png = row[half]
                png = png if isinstance(png, bytes) else stored(png, "PNG")
                row[half] = {"bytes": png, "path": None}
        file = folder / f"{split}-00000-of-00001.parquet"
        pa.parquet.write_table(pa.Table.from_pylist(table), file)


def write_clone(folder):
    data = folder / "PCBData"
    for listing, n in (("trainval.txt", 12), ("test.txt", 5)):
        lines = []
        for row in rows(n):
            name, group = row["name"], row["group"]
            if listing == "test.txt":
                name = f"9{name}"
            place = f"{group}/{group[5:]}"
            lines.append(f"{place}/{name}.jpg {place}_not/{name}.txt\n")
            (data / place).mkdir(parents=True, exist_ok=True)
            (data / f"{place}_not").mkdir(exist_ok=True)
            for half, ending in (("template", "temp"), ("tested", "test")):
                picture = data / place / f"{name}_{ending}.jpg"
                picture.write_bytes(stored(row[half], "JPEG"))
            told = zip(row["boxes"], row["kinds"])
            text = "".join(f"{x1} {y1} {x2} {y2} {k + 1}\n" for (x1, y1, x2, y2), k in told)
            (data / f"{place}_not" / f"{name}.txt").write_text(text, encoding="utf-8")
        (data / listing).write_text("".join(lines), encoding="utf-8")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """An empty mirror, and an empty cache."""
    monkeypatch.setenv("SNNLIB_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("SNNLIB_CACHE", str(tmp_path / "arrays"))
    (tmp_path / "mirror").mkdir()
    boards._whole.cache_clear()
    yield tmp_path / "mirror" / "deeppcb"
    boards._whole.cache_clear()


def test_a_parquet_file_gives_what_was_put_in(mirror):
    write_parquet(mirror)
    both = [load_boards(split) for split in ("train", "validation")]
    assert [len(part) for part in both] == [11, 1]
    assert both[0].source == "DeepPCB, local mirror"
    expected = {row["name"]: row for row in rows(12)}
    for part in both:
        for row, name in enumerate(part.names):
            of = expected.pop(name)
            assert part.groups[row] == of["group"]
            for pixels, half in zip(part.pairs([row]), ("template", "tested")):
                assert pixels.dtype == np.float32
                np.testing.assert_array_equal(pixels[0, 0], of[half] > 127)
            defects = part.defects.on([row])
            assert defects.corners.tolist() == of["boxes"]
            assert defects.kinds.tolist() == of["kinds"]
    assert not expected
    assert load_boards("test").names.tolist() == [f"{number:05d}" for number in range(5)]


def test_a_clone_of_the_published_repository_gives_the_same(mirror, monkeypatch):
    write_parquet(mirror)
    of_parquet = [load_boards(split) for split in BOARD_SPLITS]
    write_clone(mirror.parent / "other" / "deeppcb")
    monkeypatch.setenv("SNNLIB_DATA", str(mirror.parent / "other"))
    of_clone = [load_boards(split) for split in BOARD_SPLITS]
    for one, other in zip(of_parquet, of_clone):
        assert [name[-5:] for name in other.names] == one.names.tolist()
        for name in ("templates", "tested", "groups"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in ("pictures", "corners", "kinds"):
            np.testing.assert_array_equal(getattr(one.defects, name), getattr(other.defects, name))


def test_grey_levels_are_cut_at_127(mirror):
    picture = np.full((640, 640), 127, dtype=np.uint8)
    picture[:, 320:] = 128
    write_parquet(mirror, lambda row: row | {"template": picture})
    templates, _ = load_boards("test").pairs([0])
    assert not templates[..., :320].any()
    assert templates[..., 320:].all()


def test_boards_are_decoded_once_a_machine(mirror, monkeypatch):
    write_parquet(mirror)
    first = load_boards("train")
    boards._whole.cache_clear()
    monkeypatch.setattr(boards, "_bits", None)
    np.testing.assert_array_equal(load_boards("train").tested, first.tested)


def test_a_whole_part_is_shared_and_read_only(parts):
    assert load_boards("train", source="standin") is load_boards("train", source="standin")
    for part in parts.values():
        for array in (part.templates, part.tested, part.groups, part.defects.corners):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = array[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": b"no picture"}, r"train-.*parquet, row 0: the template can't be decoded"),
        (
            {"tested": np.zeros((640, 630), dtype=np.uint8)},
            r"row 0: the tested board has 630 × 640 pixels, expected 640 × 640",
        ),
        (
            {"boxes": [[5, 5, 5, 9]], "kinds": [0]},
            r"row 0: box \[5, 5, 5, 9\], expected x1, y1, x2, y2 with 0 ≤ x1 < x2 ≤ 640",
        ),
        ({"boxes": [[5, 5, 8, 641]], "kinds": [0]}, r"row 0: box \[5, 5, 8, 641\], expected x1"),
        ({"boxes": [[5, 5, 8]], "kinds": [0]}, r"row 0: box \[5, 5, 8\], expected x1"),
        ({"boxes": [[5, 5, 8, 9]], "kinds": [6]}, r"row 0: kind 6, expected 0 … 5"),
        ({"boxes": [[5, 5, 8, 9]], "kinds": []}, r"row 0: every box needs one kind, got 1 and 0"),
    ],
)
def test_a_broken_row_is_named(mirror, change, message):
    write_parquet(mirror, lambda row: row | change)
    with pytest.raises(ValueError, match=message):
        load_boards("train")


def test_a_broken_parquet_file_is_named(mirror):
    mirror.mkdir()
    file = mirror / "test-00000-of-00001.parquet"
    file.write_bytes(b"no table")
    with pytest.raises(ValueError, match=re.escape(f"the mirror file {file} is broken")):
        load_boards("test")
    pa.parquet.write_table(pa.table({"name": ["a"], "boxes": [[[1, 2, 3, 4]]]}), file)
    with pytest.raises(ValueError, match=r"lacks the columns \['group', 'kinds', 'template', 't"):
        load_boards("test")
    pa.parquet.write_table(pa.Table.from_pylist([], pa.schema(COLUMNS)), file)
    with pytest.raises(ValueError, match="no board is in it"):
        load_boards("test")


COLUMNS = {name: pa.string() for name in ("name", "group", "template", "tested", "boxes", "kinds")}


@pytest.mark.parametrize("line", ["1 2 30 40", "1 2 30 40 7", "1 2 30 40 0", "1,2,30,40,1", "x"])
def test_a_broken_line_about_a_defect_is_named(mirror, line):
    write_clone(mirror)
    file = mirror / "PCBData/group00001/00001_not/00003.txt"
    file.write_text(f"1 2 30 40 1\n\n{line}\n", encoding="utf-8")
    message = rf"00003.txt, line 3: '{line}', expected x1 y1 x2 y2 kind, .* lies in 1 … 6"
    with pytest.raises(ValueError, match=message):
        load_boards("train")


def test_a_broken_list_of_boards_is_named(mirror):
    write_clone(mirror)
    file = mirror / "PCBData" / "trainval.txt"
    good = file.read_text(encoding="utf-8")
    file.write_text(good + "group00000/00000/1.png\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"trainval.txt, line 13: 'group00000/00000/1.png', expec"):
        load_boards("train")
    file.write_text(good, encoding="utf-8")
    (mirror / "PCBData/group00001/00001/00003_temp.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"line 4: there is no file .*00003_temp.jpg"):
        load_boards("train")


def test_a_mirror_that_lacks_the_files_or_the_set(mirror, monkeypatch):
    with pytest.raises(FileNotFoundError, match="there is no folder deeppcb in the mirror"):
        load_boards("train", source="mirror")
    assert load_boards("test").source == "drawn boards (stand-in)"
    mirror.mkdir()
    boards._whole.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"lacks the file train-.* PCBData.trainval.txt of"):
        load_boards("train")
    assert len(load_boards("test", source="standin")) == SIZES["test"]
    monkeypatch.setenv("SNNLIB_DATA", str(mirror / "nowhere"))
    with pytest.raises(NotADirectoryError, match=r"SNNLIB_DATA must name a folder, got .*nowhere"):
        load_boards("train")
    monkeypatch.delenv("SNNLIB_DATA")
    with pytest.raises(FileNotFoundError, match="SNNLIB_DATA names no mirror to load from"):
        load_boards("train", source="mirror")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "calibration"}, "split must be one of train, validation, test; got 'calibra"),
        ({"split": "test", "source": "hub"}, "source must be one of mirror, standin; got 'hub'"),
        ({"split": "test", "size": 0}, r"size must lie in 1 … 100 for the test boards .*, got 0"),
        ({"split": "test", "size": 101}, r"size must lie in 1 … 100 .* \(drawn boards .*, got 101"),
    ],
)
def test_what_can_not_be_had(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_boards(**arguments)


# The set itself.


def test_parts_share_no_board(parts):
    assert {split: len(part) for split, part in parts.items()} == SIZES
    names = np.concatenate([part.names for part in parts.values()])
    assert len(set(names)) == len(names)
    assert len({part.tested[row].tobytes() for part in parts.values() for row in range(30)}) == 90
    assert set(parts["validation"].groups) <= set(parts["train"].groups)
    unknown = ~np.isin(parts["test"].groups, parts["train"].groups)
    assert unknown.mean() == pytest.approx(332 / 500, abs=0.01)


def test_boards_that_are_taken_bring_their_defects(parts):
    part, order = parts["validation"], np.array([7, 0, 29])
    taken = part.take(order)
    assert len(taken) == 3
    for name in ("templates", "tested", "names", "groups"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(part, name)[order])
    for new, old in enumerate(order):
        of = part.defects.pictures == old
        np.testing.assert_array_equal(taken.defects.on([new]).corners, part.defects.corners[of])
        np.testing.assert_array_equal(taken.defects.on([new]).kinds, part.defects.kinds[of])
    for one, other in zip(taken.pairs([2, 0]), part.pairs([29, 7])):
        assert one.shape == (2, 1, 640, 640)
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="each picture can be taken once, got 3 again"):
        part.take([3, 3])


@pytest.fixture(scope="module")
def noise():
    boards = random_boards(3, seed=0)
    return boards, np.concatenate(boards.pairs(range(3)), axis=1)


@st.composite
def squares(draw):
    """A side, and board, place and shift of some squares of it, often at a rim."""
    side = draw(st.sampled_from([1, 7, 8, 9, 33, 160, 633, 640]))
    rim = SIDE - side
    place = st.integers(0, rim) | st.sampled_from([0, min(1, rim), max(rim - 1, 0), rim])
    shift = st.integers(-9, 9) | st.sampled_from([-SIDE, SIDE])
    some = st.lists(
        st.tuples(st.integers(0, 2), place, place, shift, shift), min_size=1, max_size=3
    )
    return side, np.array(draw(some))


@given(squares())
def test_squares_are_those_of_the_whole_pictures(noise, drawn):
    boards, pictures = noise
    side, (rows, x, y, right, down) = drawn[0], drawn[1].T
    cut = boards.cut_out(rows, np.stack([x, y], axis=1), side, np.stack([right, down], axis=1))
    assert cut.shape == (len(rows), 2, side, side)
    assert cut.dtype == np.float32
    for k, row in enumerate(rows):
        left = min(max(x[k] + right[k], 0), SIDE - side)
        top = min(max(y[k] + down[k], 0), SIDE - side)
        template = pictures[row, 0, top : top + side, left : left + side]
        np.testing.assert_array_equal(cut[k, 0], template)
        tested = pictures[row, 1, y[k] : y[k] + side, x[k] : x[k] + side]
        np.testing.assert_array_equal(cut[k, 1], tested)


def test_squares_lie_on_each_other_unless_they_are_moved(noise):
    boards, pictures = noise
    cut = boards.cut_out([2, 0], [[3, 500], [481, 0]], 100)
    np.testing.assert_array_equal(cut[0], pictures[2, :, 500:600, 3:103])
    np.testing.assert_array_equal(cut[1], pictures[0, :, :100, 481:581])


@pytest.mark.parametrize("place", [[-1, 0], [0, -1], [541, 0], [0, 541]])
def test_a_square_beyond_its_board_is_refused(noise, place):
    words = rf"a square of 100 pixels at \[{place[0]}, {place[1]}\] reaches beyond its board of 640"
    with pytest.raises(ValueError, match=words):
        noise[0].cut_out([1, 1], [[540, 540], place], 100)


def test_what_is_printed(parts):
    count = len(parts["test"].defects)
    assert repr(parts["test"]) == (
        f"BoardSet(100 pairs of 640 × 640, {count} defects; source 'drawn boards (stand-in)')"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tested": np.zeros((2, 51_200), np.uint8)}, r"tested must have shape \(3, 51200\), got"),
        ({"templates": np.zeros((3, 99), np.uint8)}, r"templates must have shape .*, got \(3, 99"),
        ({"groups": np.array(["a"])}, r"groups must have shape \(3,\), got \(1,\)"),
        ({"defects": ([3], [0])}, "there is a defect on board 3 of 3"),
        ({"defects": ([1, 0], [0, 0])}, "defects must be in the order of their boards"),
        ({"defects": ([1], [6])}, "kinds must lie in 0 … 5, got 6"),
    ],
)
def test_what_is_no_set_of_boards(change, message):
    blank = np.zeros((3, 51_200), dtype=np.uint8)
    names = np.array(["a", "b", "c"])
    whole = BoardSet(blank, blank, boxes_of([], []), names, names, "blank")
    change = {k: boxes_of(*v) if k == "defects" else v for k, v in change.items()}
    with pytest.raises(ValueError, match=message):
        replace(whole, **change)


def boxes_of(pictures, kinds):
    corners = np.tile(np.array([0, 0, 9, 9], dtype=np.float32), (len(pictures), 1))
    return Boxes(np.array(pictures, dtype=np.int64), corners, np.array(kinds, dtype=np.int64))


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_groups_are_drawn_in_proportion(counts, share, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    size = max(round(share * len(groups)), 1)
    drawn = boards._in_proportion(groups, size, seed)
    assert len(drawn) == size
    assert (np.diff(drawn) > 0).all()
    got = np.bincount(groups[drawn], minlength=len(counts))
    assert (abs(got - size * np.array(counts) / len(groups)) <= 1 + 1e-9).all()
    if size < len(groups):
        larger = boards._in_proportion(groups, size + 1, seed)
        assert set(drawn) < set(larger)


def test_a_part_drawn_is_of_the_seed():
    drawn, again, other = (load_boards("test", 20, seed, "standin") for seed in (0, 0, 1))
    assert drawn.names.tolist() == again.names.tolist()
    assert set(drawn.names) != set(other.names)
    assert len(drawn) == len(other) == 20


# What is drawn.


def test_the_same_boards_are_drawn_each_time(monkeypatch, parts):
    monkeypatch.setitem(drawn_boards.PAIRS, "test", 2)
    monkeypatch.setattr(drawn_boards, "NEW_SHARE", 1)
    again = drawn_boards.drawn_boards("test")
    np.testing.assert_array_equal(again["tested"], parts["test"].tested[:2])
    np.testing.assert_array_equal(again["templates"], parts["test"].templates[:2])
    np.testing.assert_array_equal(again["corners"], parts["test"].defects.on([0, 1]).corners)


@pytest.mark.parametrize("number", range(24))
def test_without_noise_boards_differ_inside_each_box_and_nowhere_else(number):
    rng = np.random.default_rng((5, number))
    _, copper, defects = drawn_boards._clean_pair(number, rng)
    template = ~copper
    tested = drawn_boards._with_defects(template.copy(), defects)
    differ = template != tested
    boxes = [box for _, box, _, _ in defects]
    assert 3 <= len(boxes) <= 12
    for kind, (x1, y1, x2, y2), _, _ in defects:
        inside = differ[y1:y2, x1:x2]
        assert inside.any()
        # Copper, which is false, goes where a track is broken or an edge or area has a hole.
        gone = KINDS[kind] in ("open", "mousebite", "pin-hole")
        assert (tested[y1:y2, x1:x2][inside] == gone).all()
        # Boxes are tight but for 10 pixels, unless the board ends before.
        rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        assert x1 == max(x1 + columns[0] - 10, 0)
        assert y1 == max(y1 + rows[0] - 10, 0)
        assert x2 == min(x1 + columns[-1] + 10, 640)
        assert y2 == min(y1 + rows[-1] + 10, 640)
        differ[y1:y2, x1:x2] = False
    assert not differ.any()


def pieces(board):
    """How many separate pieces of copper there are, and of what lies between."""
    return ndimage.label(~board, np.ones((3, 3)))[1], ndimage.label(board)[1]


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_each_kind_does_to_copper_what_it_is_named_for(kind):
    """Seen through its box: something is cut, bridged, nibbled, or stands alone."""
    seen = 0
    for number in range(24):
        _, copper, defects = drawn_boards._clean_pair(number, np.random.default_rng((6, number)))
        for of_kind, (x1, y1, x2, y2), where, shape in defects:
            if of_kind != kind:
                continue
            seen += 1
            tested = drawn_boards._with_defects(~copper, [(kind, None, where, shape)])
            before, after = pieces(~copper[y1:y2, x1:x2]), pieces(tested[y1:y2, x1:x2])
            more = after[0] - before[0], after[1] - before[1]
            if KINDS[kind] == "open":
                assert more[0] > 0
            elif KINDS[kind] == "short":
                assert more[0] < 0
            else:
                assert more == {"copper": (1, 0), "pin-hole": (0, 1)}.get(KINDS[kind], (0, 0))
    assert seen >= 12


@needs_real_boards
def test_black_is_copper_on_the_real_boards(real):
    """An island adds black pixels, a hole white ones."""
    part = load_boards("validation")
    templates, tested = part.pairs(np.arange(30))
    defects = part.defects.on(np.arange(30))
    for kind, turns in (("copper", -1), ("pin-hole", 1)):
        of_kind = defects[defects.kinds == KINDS.index(kind)]
        boxes = zip(of_kind.pictures, of_kind.corners.astype(int))
        changed = [
            (tested[row, 0, y1:y2, x1:x2] - templates[row, 0, y1:y2, x1:x2]).sum()
            for row, (x1, y1, x2, y2) in boxes
        ]
        assert len(changed) > 10
        assert np.mean(np.sign(changed) == turns) > 0.9


@needs_real_boards
def test_the_real_boards_are_those_of_the_publication(real):
    whole = {split: load_boards(split) for split in BOARD_SPLITS}
    assert {split: len(part) for split, part in whole.items()} == {
        "train": 900,
        "validation": 100,
        "test": 500,
    }
    assert len(whole["train"].defects) + len(whole["validation"].defects) == 6_873
    assert len(whole["test"].defects) == 3_140
    assert (~np.isin(whole["test"].groups, whole["train"].groups)).sum() == 332


@pytest.fixture
def both(real):
    return load_boards("train"), load_boards("train", source="standin")


def measured(boards, measure, n=120):
    """Of some boards, in proportion."""
    rows = boards_of(boards, n)
    return np.array([v for v in (measure(boards, row) for row in rows) if v is not None])


def boards_of(part, n):
    return boards._in_proportion(part.groups, n, seed=0)


@needs_real_boards
def test_drawn_boards_lie_askew_as_the_real_ones(both):
    of_real, drawn = (measured(part, board_measures.shift) for part in both)
    for share in (50, 90):
        assert np.percentile(drawn, share) == pytest.approx(np.percentile(of_real, share), abs=1)
    assert drawn.mean() == pytest.approx(of_real.mean(), abs=0.4)


@needs_real_boards
def test_drawn_boards_differ_outside_their_defects_as_the_real_ones(both):
    for measure in (board_measures.differing, board_measures.straying):
        of_real, drawn = (np.median(measured(part, measure)) for part in both)
        assert 0.65 < drawn / of_real < 1.5


@needs_real_boards
def test_subtracting_fails_on_drawn_boards_as_on_real_ones(both):
    of_real, drawn = (measured(part, board_measures.false_alarms) for part in both)
    for alarms in (of_real, drawn):
        assert alarms.mean() > 5
        assert (alarms == 0).mean() < 0.65
    assert 0.5 < drawn.mean() / of_real.mean() < 2


@needs_real_boards
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_drawn_defects_are_as_large_as_the_real_ones(both, kind):
    for low, high in ((0, 2), (1, 3)):
        corners = [part.defects.corners[part.defects.kinds == kind] for part in both]
        of_real, drawn = (np.median(of[:, high] - of[:, low]) for of in corners)
        assert drawn == pytest.approx(of_real, abs=4)


@needs_real_boards
def test_there_are_as_many_drawn_defects_as_real_ones(both):
    counts = [np.bincount(part.defects.pictures, minlength=len(part)) for part in both]
    assert counts[1].mean() == pytest.approx(counts[0].mean(), abs=0.5)
    assert counts[1].std() == pytest.approx(counts[0].std(), abs=0.4)
    shares = [np.bincount(part.defects.kinds) / len(part.defects) for part in both]
    np.testing.assert_allclose(shares[1], shares[0], atol=0.06)


def test_subtracting_drawn_boards_leaves_false_alarms(parts):
    """With no real boards at hand, either."""
    alarms = measured(parts["test"], board_measures.false_alarms, 40)
    assert alarms.mean() > 5
