"""The report says what the qualification says, shows what went wrong, and needs no network."""

import base64
import io
import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from drawn_parts import frames, write, write_lots
from PIL import Image
from qualified_parts import CHIPPED, ODD, label, label_amounts, rate, small_station

from snnlib import plots
from snnlib.evaluation import escapes, false_alarms
from snnlib.quality.lots import proportion_by_lot
from snnlib.station.parts import Parts
from snnlib.station.qualification import qualify
from snnlib.station.report import write_report
from snnlib.station.studies import Plan


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    return small_station(tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="module")
def found(station, tmp_path_factory):
    return qualify(station, Parts.read(label(tmp_path_factory.mktemp("labelled"))))


def parsed(found, folder):
    write_report(found, folder / "report.html")
    text = (folder / "report.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser")


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    return parsed(found, tmp_path_factory.mktemp("report"))


def section(page, name):
    return page.find(id=name).find_parent("section")


def words(element):
    return " ".join(element.get_text(" ").split())


def table(page, name):
    """Texts of the cells of the table in a section, by row and column."""
    rows = [
        [words(cell) for cell in row.find_all(["th", "td"])]
        for row in section(page, name).table.find_all("tr")
    ]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def percent(value):
    return f"{100 * value:.2f} %"


def test_the_answer_comes_first_and_is_that_of_evaluation(page, found):
    judged = found.table
    assert page.find("section") == section(page, "answer")
    boxes = section(page, "answer").select(".answer")
    for box, figure, wrong in [
        (boxes[0], escapes, (judged.true != "OK") & (judged.verdict == "OK")),
        (boxes[1], false_alarms, (judged.true == "OK") & (judged.verdict != "OK")),
    ]:
        of = (judged.true == "OK") == (figure is false_alarms)
        estimate = proportion_by_lot(wrong[of], judged.lot[of])
        assert estimate.value == figure(judged.true, judged.verdict).value
        there = sum((judged.true == "OK") == (figure is false_alarms))
        assert words(box.select_one(".figure")) == f"{sum(wrong)} of {there}"
        for value in (estimate.value, estimate.low, estimate.high):
            assert percent(value) in words(box)
        assert "The parts are of 2 lots" in words(box)


def test_all_doubts_are_told(page, found, station):
    told = [words(item) for item in section(page, "doubts").find_all("li")]
    assert told == [" ".join(doubt.split()) for doubt in (*found.doubts, *station.doubts)]
    assert len(found.doubts) > 2


def test_the_tables_are_those_of_the_qualification(page, found):
    for name, row in found.confusion.iterrows():
        assert table(page, "verdicts")[name] == {k: str(count) for k, count in row.items()}
    lots = table(page, "lots")
    assert list(lots) == ["c", "d"]
    for (lot, good), row in found.by_lot.iterrows():
        cell = lots[lot]["False alarms" if good else "Escapes"]
        ends = f"({100 * row.low:.2f} to {100 * row.high:.2f})"
        assert cell == f"{row.errors:.0f} of {row.parts:.0f}: {percent(row.share)} {ends}"
    classes = table(page, "classes")
    assert list(classes) == ["OK", "dent", f"{ODD} (not known to the station)", "バリ"]
    assert classes["dent"]["Named"] == str(found.confusion.loc["dent", "dent"])
    assert classes["OK"]["Not judged"] == "1"
    proofs = table(page, "proof")
    assert [row["Bound"] for row in proofs.values()] == [percent(b) for b in found.proofs.bound]
    assert "59 parts prove less than 5 %, 299 parts prove less than 1 %" in words(
        section(page, "proof")
    )
    for one in page.find_all("table"):
        assert one.caption.get_text()
        assert all(head["scope"] in ("row", "col") for head in one.find_all("th"))


def test_each_error_is_there_with_its_pictures(page, found):
    figures = section(page, "errors").find_all("figure")
    positions = np.concatenate(list(found.errors.values()))
    assert len(figures) == len(positions)
    for figure, row in zip(figures, found.table.iloc[positions].itertuples()):
        told = words(figure.figcaption)
        assert figure.select_one(".file").get_text() == "/".join(Path(row.file).parts[-3:])
        assert f"Class {row.true} ," in told
        if row.why:
            assert "not judged: " in told
            assert row.file not in told  # nobody needs to know whose folder it was
            assert not figure.find("img")
        else:
            assert f"judged {row.verdict} ." in told
            assert f"Score {row.score:.3f}, limit {found.station.limit:.3f}." in told
            photograph, heat = figure.find_all("img")
            assert photograph["alt"].startswith(f"Photograph of a part of {row.true}, ")
            assert re.search(r"most unusual place is .*, at \d+\.\d\d times", heat["alt"])
    heads = [words(head) for head in section(page, "errors").find_all("h3")]
    counts = [len(where) for where in found.errors.values()]
    names = ("Escapes", "False alarms", "Wrong names", "Not judged")
    assert heads == [f"{name}: {count}" for name, count in zip(names, counts)]


def opened(image):
    head, _, data = image["src"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture.convert("RGB"), dtype=float)


def test_pictures_are_the_parts_and_the_heat_lies_over_them(page, found):
    """A false alarm is a dent here, which the heat covers."""
    image, heated = section(page, "errors").find_all("figure")[3].find_all("img")
    file = found.table.file[found.errors["false alarm"][0]]
    with Image.open(file) as photograph:
        expected = np.asarray(photograph.convert("RGB").resize((360, 360), 0), dtype=float)
    plain, covered = opened(image), opened(heated)
    assert plain.shape == covered.shape == (360, 360, 3)
    assert abs(plain - expected).mean() < 6  # JPEG
    assert abs(covered - plain).mean() > 10


def test_limit_samples_are_shown_in_their_order(page, found):
    files = [words(file) for file in section(page, "limit").select(".file")]
    expected = [Path(found.table.file[k]).parts[-3:] for k in found.limit_samples]
    assert files == ["/".join(parts) for parts in expected]


def test_where_all_comes_from(page, found, station):
    told = words(section(page, "provenance"))
    for made in (found.judged, station.made):
        for name in ("date", "data", "code", "library"):
            assert made[name] in told
    assert f"Limit {station.limit:.3f}" in words(section(page, "station"))
    assert station.rule.calibration in words(section(page, "station"))


def test_nothing_is_fetched(page):
    policy = page.find("meta", attrs={"http-equiv": True})["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not page.find_all(["script", "link", "iframe", "object", "video", "audio"])
    assert all(image["src"].startswith("data:") for image in page.find_all("img"))
    assert all(link["href"].startswith("#") for link in page.find_all("a"))
    assert all(page.find(id=link["href"][1:]) for link in page.find_all("a"))
    assert not re.search(r"https?:|url\(|@import", str(page))


def test_the_page_is_sound(page):
    assert page.html["lang"] == "en"
    assert page.title.get_text().startswith("Qualification of a station, 2")
    assert len(page.find_all("h1")) == 1
    ids = [element["id"] for element in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    names = [e["aria-labelledby"] for e in page.find_all(attrs={"aria-labelledby": True})]
    assert set(names) <= set(ids)


def test_names_are_text_and_never_markup(page):
    text = page.get_text()
    assert ODD in text
    assert "バリ" in text
    assert f"d/OK/{CHIPPED}" in text
    assert not page.find("x")


def test_good_parts_of_one_lot(station, tmp_path):
    page = parsed(
        qualify(station, Parts.read(write_lots(tmp_path / "parts", {("c", "OK"): 8}, seed=5))),
        tmp_path,
    )
    of_escapes, of_alarms = section(page, "answer").select(".answer")
    assert words(of_escapes.select_one(".figure")) == "not known"
    assert "0 %" not in words(of_escapes)
    assert "The parts are of one lot, and the interval says nothing about" in words(of_alarms)
    assert "so nothing is proved" in words(section(page, "proof"))
    assert table(page, "lots")["c"]["Escapes"] == "no part"
    assert len(section(page, "limit").find_all("figure")) >= 4


def test_a_station_without_evidence_has_no_heat_map(tmp_path):
    station = small_station(tmp_path / "learned", evidence=False)
    page = parsed(qualify(station, Parts.read(label(tmp_path / "labelled"))), tmp_path)
    assert "so it has no heat map" in words(section(page, "errors"))
    assert "It is the distance to the nearest anchor" in words(section(page, "words"))
    figures = section(page, "errors").find_all("figure")
    assert [len(figure.find_all("img")) for figure in figures] == [1] * (len(figures) - 1) + [0]


def test_nothing_that_can_be_read(station, tmp_path):
    (tmp_path / "parts" / "OK").mkdir(parents=True)
    (tmp_path / "parts" / "OK" / "a.png").write_bytes(b"no picture")
    page = parsed(qualify(station, Parts.read(tmp_path / "parts")), tmp_path)
    assert words(section(page, "answer").select(".answer .figure")[1]) == "1 of 1"
    assert words(section(page, "errors").figcaption).startswith(
        "parts/OK/a.png Class OK , not judged"
    )
    assert "There is no picture of it." in words(section(page, "errors").figure)
    assert list(table(page, "lots")) == ["without a name"]
    assert not section(page, "limit").figure


def test_a_folder_that_is_not_there_yet_is_made(found, tmp_path):
    write_report(found, tmp_path / "new" / "report.html")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]


def test_without_jinja2_it_is_told_what_to_install():
    code = (
        "import sys; sys.modules['jinja2'] = None; "
        "from snnlib.station.report import write_report; write_report(None, 'a.html')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "jinja2 is missing, which comes with the extra 'station' of snnlib" in done.stderr


def test_pictures_are_whole_whatever_the_style_of_figures(found, page, tmp_path):
    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.use_style()
        styled = parsed(found, tmp_path)
    shown = [image["src"] for image in page.find_all("img")]
    assert [image["src"] for image in styled.find_all("img")] == shown


@pytest.fixture(scope="module")
def audit(station, tmp_path_factory):
    """With all that may be given; of one class of defects too few are known for a curve."""
    folder = tmp_path_factory.mktemp("audited")
    sheet = label_amounts(folder)
    write(folder / "d" / ODD, frames(3, 73, "scratch"))
    few = pd.DataFrame({"file": [f"{ODD}/00{k}.png" for k in range(3)], "amount": 1.0})
    given = {"sheet": pd.concat([sheet, few]), "ratings": rate(folder), "plan": Plan(0.5, 0.9, 2)}
    return qualify(station, Parts.read(folder), **given)


@pytest.fixture(scope="module")
def audited(audit, tmp_path_factory):
    return parsed(audit, tmp_path_factory.mktemp("report"))


def test_what_was_not_given_is_said(page):
    for name, option in [
        ("acceptance", "--most-escapes 0.05"),
        ("detection", "--sheet sheet.csv"),
        ("agreement", "--ratings ratings.csv"),
    ]:
        assert option in words(section(page, name))
        assert not section(page, name).table
    assert "Acceptance test" not in words(section(page, "answer"))


def test_the_acceptance_test_is_told(audited, audit):
    rows = table(audited, "acceptance")
    assert [*rows] == ["escapes", "false alarms"]
    for row in audit.acceptance.itertuples():
        told = rows[row.Index]
        assert told["Result"] == row.result
        assert told["Share at most"] == percent(row.most)
        assert told["Bound"] == percent(row.bound)
        counts = [told[name] for name in ("Allowed", "Wrong", "Parts needed", "Parts judged")]
        assert counts == [str(n) for n in (row.allowed, row.failures, row.needed, row.parts)]
    assert "Acceptance test : escapes failed , false alarms passed ." in words(
        section(audited, "answer")
    )


def test_the_probability_of_detection_is_told(audited, audit):
    curve, there = audit.detection["dent"], section(audited, "detection")
    (row,) = table(audited, "detection").values()
    assert row["Parts"] == "18"
    assert row["Hits"] == str(curve.hits.sum())
    for name, value in {"a50": curve.a50, "a90": curve.a90, "a90/95": curve.a90_95}.items():
        assert row[name] == (f"{value:.4g}" if np.isfinite(value) else "infinite")
        assert name in words(there.dl)
    (image,) = there.find_all("img")
    assert image["alt"].startswith(
        f"Chance that dent is found, by its amount: 50 % at {row['a50']}"
    )
    head, _, data = image["src"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as plot:
        assert plot.size == (1000, 640)
    assert "There is no curve: expected at least 10 parts, got 3." in words(there)
    assert ODD in there.get_text()
    assert not audited.find("x")


def test_agreement_is_told(audited, audit):
    there, study, kappa = section(audited, "agreement"), audit.agreement, audit.kappa
    rows = table(audited, "agreement")
    assert [*rows] == ["Ann", "Bob"]
    for name, row in rows.items():
        alone, right = study.within.loc[name], study.against.loc[name]
        for told, figures, figure in [
            ("Fleiss' kappa", alone, "kappa"),
            ("Cohen's kappa", right, "kappa"),
        ]:
            low, high = figures[f"{figure}_low"], figures[f"{figure}_high"]
            assert row[told] == f"{figures[figure]:.2f} ({low:.2f} to {high:.2f})"
        for told, figures, figure in [
            ("Same again", alone, "share"),
            ("Always right", right, "share"),
            ("Misses", right, "misses"),
            ("False alarms", right, "false_alarms"),
        ]:
            assert row[told].startswith(percent(figures[figure]))
    said = words(there)
    assert f"Cohen's kappa {kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})" in said
    assert f"Fleiss' kappa of all ratings is {study.kappa.value:.2f} (" in said
    assert "above 0.75 it is good" in said
    assert "AIAG, Measurement Systems Analysis" in said


def test_shots_of_one_part_are_told(station, tmp_path):
    """Each good part is on two photographs, so the station is an inspector; no miss is defined."""
    parts = Parts.read(write_lots(tmp_path / "parts", {("c", "OK"): 8}, seed=5))
    sheet = pd.DataFrame({"file": list(map(str, parts.files)), "part": list("aabbccdd")})
    ratings = pd.DataFrame(
        {"part": part, "inspector": inspector, "trial": trial, "verdict": "OK"}
        for part in "abcd"
        for inspector in ("<Ann>", "Bob")
        for trial in (1, 2)
    )
    page = parsed(qualify(station, parts, sheet=sheet, ratings=ratings), tmp_path)
    assert "The 8 photographs are of 4 parts" in words(section(page, "answer"))
    assert "The station is one of the inspectors, as station" in words(section(page, "agreement"))
    rows = table(page, "agreement")
    assert [*rows] == ["<Ann>", "Bob", "station"]
    assert rows["Bob"]["Misses"] == rows["Bob"]["Fleiss' kappa"] == "not defined"


@pytest.mark.parametrize(
    "check", [test_nothing_is_fetched, test_the_page_is_sound], ids=lambda check: check.__name__
)
def test_an_audit_is_as_sound(audited, check):
    check(audited)
