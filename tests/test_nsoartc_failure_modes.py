import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnlib.nsoartc.failure_modes import OK, Defect, code_of, parse

LARGEST = {"D": 20, "X": 50, "Y": 50}
RANGE = r"pin 1 … 13, row 1 … 3 .*D01 … D20 .*X01 … X50, Y01 … Y50"


@st.composite
def defects(draw):
    """Any defect that can be."""
    pin, row = draw(st.integers(1, 13)), draw(st.integers(1, 3))
    direction = draw(st.sampled_from("DXYM"))
    if direction == "M":
        return Defect(pin, row, "M", 0.0)
    tenths = draw(st.integers(1, LARGEST[direction]))
    sign = 1 if direction == "D" else draw(st.sampled_from([1, -1]))
    return Defect(pin, row, direction, sign * tenths / 10)


def several(least):
    return st.lists(defects(), min_size=least, max_size=5, unique_by=lambda defect: defect[:2])


@given(several(least=0))
def test_parse_is_the_inverse_of_code_of(found):
    code = code_of(*found)
    assert parse(code) == tuple(found)
    assert code_of(*parse(code)) == code


@given(several(least=2))
def test_several_defects_are_joined_by_plus(found):
    assert code_of(*found) == "+".join(code_of(defect) for defect in found)


def test_every_single_defect_has_a_code_of_its_own():
    tilts = [f"{way}{amount:02d}" for way in ("X", "X-", "Y", "Y-") for amount in range(1, 51)]
    kinds = ["M", *tilts, *(f"D{amount:02d}" for amount in range(1, 21))]
    codes = [f"{pin}{row}{kind}" for pin in range(1, 14) for row in (1, 2, 3) for kind in kinds]
    assert len({parse(code) for code in codes}) == len(codes) == 39 * 221
    assert all(code_of(*parse(code)) == code for code in codes)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("31X10", [(3, 1, "X", 1.0)]),
        ("61Y10", [(6, 1, "Y", 1.0)]),
        ("61Y-10", [(6, 1, "Y", -1.0)]),
        ("92D05", [(9, 2, "D", 0.5)]),
        ("131X10", [(13, 1, "X", 1.0)]),
        ("103D20", [(10, 3, "D", 2.0)]),
        ("11X01", [(1, 1, "X", 0.1)]),
        ("111X50", [(11, 1, "X", 5.0)]),
        ("31M", [(3, 1, "M", 0.0)]),
        ("31D05+92X-10", [(3, 1, "D", 0.5), (9, 2, "X", -1.0)]),
        ("92X-10+31D05", [(9, 2, "X", -1.0), (3, 1, "D", 0.5)]),
        ("OK", []),
    ],
)
def test_examples(code, expected):
    assert parse(code) == tuple(Defect(*fields) for fields in expected)
    assert code_of(*parse(code)) == code


def test_a_good_part_has_no_defect():
    assert OK == "OK"
    assert parse(OK) == ()
    assert code_of() == OK


def test_fields_of_a_defect_have_names():
    (defect,) = parse("92D05")
    assert (defect.pin, defect.row, defect.direction, defect.amount) == (9, 2, "D", 0.5)


@pytest.mark.parametrize(
    "code",
    [
        "140X10",
        "141X10",
        "04X10",
        "01X10",
        "10X10",
        "35X10",
        "30X10",
        "X10",
        "1X10",
        "31D00",
        "31D21",
        "31D-05",
        "31X51",
        "31X-51",
        "31Y51",
        "31Y-51",
        "31X00",
        "31X-00",
        "31X+10",
        "31X1",
        "31X100",
        "31X1.0",
        "31x10",
        "31Z10",
        "31M05",
        "31",
        "",
        " ",
        "NG",
        "ok",
        " OK",
        "31X10 ",
        "31X10\n",
        "31X١٠",
        "OK+31X10",
        "31X10+OK",
        "OK+OK",
        "31X10+",
        "+31X10",
        "31X10++92D05",
        "31X10+92D21",
        "31X10,92D05",
    ],
)
def test_unknown_codes_are_refused(code):
    with pytest.raises(
        ValueError, match=rf"unknown failure mode {re.escape(repr(code))}: expected OK, or {RANGE}"
    ):
        parse(code)


@pytest.mark.parametrize("code", [None, 31, ("31X10",)])
def test_what_is_no_text_is_refused(code):
    with pytest.raises(ValueError, match=rf"{re.escape(str(code))}.*: expected OK, or {RANGE}"):
        parse(code)


@pytest.mark.parametrize("code", ["31X10+31Y10", "31X10+31X10", "31M+92D05+31D05"])
def test_a_pin_is_named_once(code):
    with pytest.raises(ValueError, match=rf"{re.escape(repr(code))} names a pin twice"):
        parse(code)
    with pytest.raises(ValueError, match="names a pin twice"):
        code_of(*[parse(part)[0] for part in code.split("+")])


@pytest.mark.parametrize(
    "defect",
    [
        (14, 1, "X", 1.0),
        (0, 1, "X", 1.0),
        (3, 4, "X", 1.0),
        (3, 0, "X", 1.0),
        (3, 1, "Z", 1.0),
        (3, 1, "x", 1.0),
        (3, 1, "D", 2.1),
        (3, 1, "D", 0.0),
        (3, 1, "D", -0.5),
        (3, 1, "X", 5.1),
        (3, 1, "Y", -5.1),
        (3, 1, "Y", 0.0),
    ],
)
def test_defects_out_of_range_have_no_code(defect):
    with pytest.raises(ValueError, match=RANGE):
        code_of(Defect(*defect))


@pytest.mark.parametrize("amount", [0.55, 1.04, 0.999])
def test_amounts_between_tenths_have_no_code(amount):
    with pytest.raises(ValueError, match=rf"amounts must be whole tenths, got .*{amount}"):
        code_of(Defect(3, 1, "D", amount))


@pytest.mark.parametrize("amount", [float("inf"), float("-inf"), float("nan")])
def test_amounts_that_are_no_number_have_no_code(amount):
    with pytest.raises(ValueError, match=r"(?i)nan|inf|amounts"):
        code_of(Defect(3, 1, "X", amount))


def test_a_row_that_reads_as_another_pin_has_no_code():
    """Pin 1 of row 31 would be written as pin 13 of row 1."""
    with pytest.raises(ValueError, match="31"):
        code_of(Defect(1, 31, "X", 1.0))
