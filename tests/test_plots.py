import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.colors import to_rgb

from snnlib import plots


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()  # nothing in it may fail or warn when it is drawn
    plt.close(figure)


def test_pairs(ax):
    images, same = np.random.default_rng(0).random((5, 1, 4, 3)), np.arange(5) % 2 == 0
    assert plots.pairs(images, images, same, ax, columns=3) is ax
    assert len(ax.images) == 5
    frames = [to_rgb(patch.get_edgecolor()) for patch in ax.patches]
    assert frames == [to_rgb(plots.SAME if alike else plots.DIFFERENT) for alike in same]
    assert [text.get_text() for text in ax.texts] == ["same", "different"] * 2 + ["same"]


def test_pairs_of_different_number(ax):
    images = np.zeros((5, 1, 4, 4))
    with pytest.raises(ValueError, match="got 5 and 4 images and 5 labels"):
        plots.pairs(images, images[:4], np.ones(5, bool), ax)


def test_triplets(ax):
    three = np.random.default_rng(0).random((3, 5, 1, 4, 3))
    assert plots.triplets(*three, ax) is ax
    assert len(ax.images) == 15
    np.testing.assert_array_equal(ax.images[5].get_array(), three[1, 0, 0])
    frames = [to_rgb(patch.get_edgecolor()) for patch in ax.patches]
    colours = ["black", plots.SAME, plots.DIFFERENT]
    assert frames == [to_rgb(colour) for colour in colours for _ in range(5)]
    assert [text.get_text() for text in ax.texts] == ["anchor", "positive", "negative"]
    with pytest.raises(ValueError, match="got 5 anchors, 5 positives and 4 negatives"):
        plots.triplets(three[0], three[1], three[2, :4], ax)


def test_curves(ax):
    assert plots.curves({"training": [3, 2, 1], "validation": [3, 2.5, 2]}, ax) is ax
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2, 3]] * 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    assert ax.get_xlabel() == "epoch"


def test_scatter(ax):
    points, labels = np.random.default_rng(0).random((9, 2)), np.arange(9) % 3
    assert plots.scatter(points, labels, ["a", "b", "c"], ax) is ax
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    np.testing.assert_allclose(ax.texts[1].get_position(), np.median(points[labels == 1], axis=0))
    with pytest.raises(ValueError, match=r"expected points \(9, 2\), got \(9, 3\)"):
        plots.scatter(np.zeros((9, 3)), labels, "abc", ax)


def test_contingency(ax):
    table = np.array([[9, 1], [0, 8]])
    assert plots.contingency(table, ["a", "b"], ["x", "y"], ax) is ax
    assert [text.get_text() for text in ax.texts] == ["9", "1", "0", "8"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[1, 1 / 9], [0, 8 / 9]])
    with pytest.raises(ValueError, match=r"expected a table \(1, 2\), got \(2, 2\)"):
        plots.contingency(table, ["a"], ["x", "y"], ax)


def test_distances(ax):
    values, same = np.array([0.1, 0.2, 0.9, 1.2]), np.array([True, True, False, False])
    assert plots.distances(values, same, ax, margin=1.0) is ax
    assert sum(patch.get_height() for patch in ax.patches) == 4
    assert "margin 1" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_tiles_are_numbered_from_the_upper_left(ax):
    values = np.random.default_rng(0).normal(size=(6, 8))
    assert plots.tiled(values, (3, 4), [(4, 1), (2, 3)], ax, vmax=8) is ax
    np.testing.assert_array_equal(ax.images[0].get_array(), values)
    assert ax.images[0].get_extent() == [0.5, 4.5, 3.5, 0.5]
    assert [(frame.get_x(), frame.get_y()) for frame in ax.patches] == [(3.5, 0.5), (1.5, 2.5)]


def test_style(monkeypatch):
    with plt.rc_context():
        plots.use_style()
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"][:2] == [
            plots.SAME,
            plots.DIFFERENT,
        ]


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def test_the_two_kinds_of_pairs_can_be_read_on_white():
    for colour in (plots.SAME, plots.DIFFERENT):
        assert 1.05 / (luminance(colour) + 0.05) > 3  # contrast asked of large text by WCAG


def test_pairs_may_be_marked_by_numbers(ax):
    """~1 is -2: a wrong drawing, without a word."""
    values, same = np.array([0.1, 0.2, 0.9, 1.0]), np.array([1, 1, 0, 0])
    plots.distances(values, same, ax)
    first, second = (sum(p.get_height() for p in container) for container in ax.containers)
    assert (first, second) == (2, 2)
    near = [p.get_x() for p in ax.containers[0] if p.get_height()]
    assert max(near) < 0.3


def write_font(file, name, characters):
    """A font of one square for each character."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in [(0, 500), (500, 500), (500, 0)]:
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", *(f"c{k}" for k in range(len(characters)))]
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): f"c{k}" for k, c in enumerate(characters)})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(file)
    return str(file)


@pytest.fixture
def installed(monkeypatch):
    """Fonts of the machine: those that come with Matplotlib, and what is put on this list."""
    files, manager = [], font_manager.fontManager
    own = [entry for entry in manager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(manager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: files)
    with plt.rc_context({"font.family": ["DejaVu Sans"]}):
        yield files
    manager._findfont_cached.cache_clear()  # the fonts are gone, and so are their files
    plots._fallbacks.cache_clear()


def draw_names(names, ax):
    n = len(names)
    plots.scatter(np.eye(n)[:, :2], np.arange(n), names, ax)
    return ax.texts[-1]


def test_names_are_drawn_by_a_font_that_has_their_characters(installed, ax, tmp_path):
    installed.append(write_font(tmp_path / "one.ttf", "One Kanji", "漢"))
    installed.append(write_font(tmp_path / "both.ttf", "Two Kanji", "漢字"))
    installed.append(write_font(tmp_path / "black.ttf", "Two Kanji Black", "漢字"))
    installed.append(write_font(tmp_path / "other.ttf", "Georgian", "ა"))
    # One family where one will do, and more where characters are in several.
    assert draw_names(["déjà", "漢字 1"], ax).get_fontfamily() == ["DejaVu Sans", "Two Kanji"]
    ax.clear()
    text = draw_names(["OK", "漢\n字"], ax)  # a new line is no character
    assert text.get_fontfamily() == ["DejaVu Sans", "Two Kanji"]


def test_every_figure_with_names_of_the_reader_finds_their_font(installed, ax, tmp_path):
    installed.append(write_font(tmp_path / "both.ttf", "Two Kanji", "漢字"))
    families = ["DejaVu Sans", "Two Kanji"]
    plots.operator(np.zeros((1, 2, 2)), "漢字", True, (1, 1), ax=ax)
    assert ax._left_title.get_fontfamily() == families
    ax.figure.canvas.draw()
    ax.clear()
    plots.contingency(np.eye(2), ["漢", "b"], ["a", "字"], ax)
    labels = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    assert all(label.get_fontfamily() == families for label in labels)
    ax.figure.canvas.draw()
    ax.clear()
    plots.curves({"漢": [1, 2], "字": [2, 1]}, ax)
    assert all(text.get_fontfamily() == families for text in ax.get_legend().get_texts())


def test_fonts_for_a_text_that_a_page_sets_itself(installed, ax, tmp_path):
    installed.append(write_font(tmp_path / "both.ttf", "Two Kanji", "漢字"))
    assert plots.fonts_for("déjà") == ["DejaVu Sans"]
    assert plots.fonts_for("漢字 1") == ["DejaVu Sans", "Two Kanji"]
    ax.set_title("漢字", fontfamily=plots.fonts_for("漢字"))
    ax.figure.canvas.draw()  # a missing character would be a warning, and so an error
    with pytest.warns(UserWarning, match="no font on this machine has 不") as told:
        assert plots.fonts_for("不良") == ["DejaVu Sans"]
    assert told[0].filename == __file__


def test_a_font_of_the_style_that_has_all_characters_is_kept(installed, ax, monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", None)  # no other is looked for
    assert draw_names(["OK", "Ausschuß ½ Ж"], ax).get_fontfamily() == ["DejaVu Sans"]


def test_characters_that_no_font_has_are_told_once(installed, ax, tmp_path):
    installed.append(write_font(tmp_path / "one.ttf", "One Kanji", "漢"))
    installed.append(str(tmp_path / "gone.ttf"))
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    installed.append(str(tmp_path / "broken.ttf"))
    # It has a box for each, even for codes of no character.
    installed.append(write_font(tmp_path / "boxes.ttf", "Boxes", "漢字不良\u0378"))
    fault = (
        r"no font on this machine has 不 字 良: boxes .* Install .*\n    apt install fonts-noto-cjk"
    )
    with pytest.warns(UserWarning, match=fault):
        draw_names(["漢字", "不良"], ax)
    text = draw_names(["不良", "漢字"], ax)  # a second warning would be an error
    assert text.get_fontfamily() == ["DejaVu Sans", "One Kanji"]
    ax.clear()
    with pytest.warns(UserWarning, match="has 一 丁 丂 七 丄 丅 丆 万 丈 三 上 下 …: boxes"):
        draw_names(["OK", "".join(map(chr, range(0x4E00, 0x4E20)))], ax)
    ax.clear()


def test_a_font_installed_after_the_warning_is_found(installed, ax, tmp_path):
    with warnings.catch_warnings(record=True, action="always") as told:
        draw_names(["OK", "漢"], ax)
    assert len(told) == 1
    assert told[0].filename == __file__
    installed.append(write_font(tmp_path / "one.ttf", "One Kanji", "漢"))
    ax.clear()
    assert draw_names(["OK", "漢"], ax).get_fontfamily() == ["DejaVu Sans", "One Kanji"]


@pytest.fixture
def whole():
    """Axes that fill a figure of 40 × 20 pixels."""
    figure = plt.figure(figsize=(4, 2), dpi=10)
    yield figure.add_axes((0, 0, 1, 1))
    plt.close(figure)


def pixels(ax):
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)


GREY = np.full((200, 400), 100, np.uint8)
HEAT = np.array([[0.1, 0.5, 0.2, 0.0], [0.0, 0.3, 3.0, 1.0]])


def test_a_heat_map_lies_over_its_photograph(ax):
    assert plots.heat_map(GREY, HEAT, "stop: dent", False, ax) is ax
    photograph, heat = ax.images
    np.testing.assert_array_equal(photograph.get_array(), GREY)
    np.testing.assert_array_equal(heat.get_array(), HEAT)
    assert photograph.get_extent() == heat.get_extent() == [0, 400, 200, 0]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 400), (200, 0))
    assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert ax.get_title(loc="left") == "stop: dent"
    assert to_rgb(ax._left_title.get_color()) == to_rgb(plots.DIFFERENT)


def test_heat_hides_nothing_below_half_the_limit_and_most_from_twice_on(ax):
    plots.heat_map(GREY, HEAT, "stop", False, ax)
    image = ax.images[1]
    at = np.array([[0.0, 0.49, 0.5, 1.0, 1.25, 2.0, 9.0]])
    expected = plots.COVER * np.clip((at - 0.5) / 1.5, 0, 1)
    np.testing.assert_allclose(image.to_rgba(at)[..., 3], expected, atol=plots.COVER / 255)
    assert (image.to_rgba(at)[..., :3][at < 0.5] == image.to_rgba(at)[0, 2, :3]).all()
    # Even a reader who sees no colours tells more from less.
    lightness = [luminance(image.cmap(share)[:3]) for share in np.linspace(0, 1, 20)]
    assert (np.diff(lightness) > 0).all()


def test_the_colours_on_the_page_are_the_mixture(whole):
    plots.heat_map(GREY, np.array([[0.5]]), "pass", True, whole)
    np.testing.assert_allclose(pixels(whole), 100, atol=1)
    whole.clear()
    plots.heat_map(GREY, np.array([[2.0]]), "pass", True, whole, box=(100, 50, 300, 150))
    inside = np.zeros((20, 40), bool)
    inside[5:15, 10:30] = True
    yellow = 255 * np.array(plt.get_cmap("plasma")(1.0)[:3])
    mixed = plots.COVER * yellow + (1 - plots.COVER) * 100
    np.testing.assert_allclose(pixels(whole)[~inside], 100, atol=1)
    np.testing.assert_allclose(pixels(whole)[inside], np.tile(mixed, (200, 1)), atol=3)


@pytest.mark.parametrize(
    ("box", "centre"),
    # The hottest cell is the third of four columns, and the second of two rows.
    [(None, (250, 150)), ((100, 50, 300, 150), (225, 125)), ((0, 0, 4, 2), (2.5, 1.5))],
)
def test_a_ring_marks_the_hottest_place(ax, box, centre):
    plots.heat_map(GREY, HEAT, "stop", False, ax, box)
    (ring,) = ax.lines
    assert ring.get_xydata().tolist() == [list(centre)]
    left, top, right, bottom = box or (0, 0, 400, 200)
    assert ax.images[1].get_extent() == [left, right, bottom, top]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 400), (200, 0))


def test_a_part_that_passes_has_no_ring(ax):
    plots.heat_map(GREY, HEAT / 4, "pass", True, ax)
    assert not ax.lines
    assert to_rgb(ax._left_title.get_color()) == to_rgb(plots.SAME)


@pytest.mark.parametrize("passes", [True, False])
def test_a_photograph_of_whose_places_nothing_is_known(ax, passes):
    plots.heat_map(GREY, None, "words", passes, ax)
    assert len(ax.images) == 1
    assert not ax.lines
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 400), (200, 0))
    assert ax.get_title(loc="left") == "words"


def test_photographs_in_colour_and_of_sixteen_bits(whole):
    cold = np.zeros((2, 2))
    colour = np.zeros((200, 400, 3), np.uint8)
    colour[...] = 10, 100, 200
    for photograph, expected in [
        (colour, (10, 100, 200)),
        (257 * colour.astype(np.uint16), (10, 100, 200)),
        (257 * GREY.astype(np.uint16), (100, 100, 100)),
    ]:
        whole.clear()
        plots.heat_map(photograph, cold, "pass", True, whole)
        np.testing.assert_allclose(pixels(whole), np.broadcast_to(expected, (20, 40, 3)), atol=1)


@pytest.mark.parametrize(
    ("photograph", "heat", "box", "message"),
    [
        (GREY[0], HEAT, None, r"expected a photograph .*, got \(400,\)"),
        (np.zeros((2, 2, 4), np.uint8), HEAT, None, r"expected a photograph .*, got \(2, 2, 4\)"),
        (GREY, HEAT[0], None, r"expected heat \(r, c\), got \(4,\)"),
        (GREY, HEAT[:0], None, r"expected heat \(r, c\), got \(0, 4\)"),
        (GREY, np.array([[0.0, np.nan]]), None, r"heat must be finite, got nan at \(0, 1\)"),
        (GREY, HEAT, (0, 0, 401, 200), r"box .* within 400 × 200 pixels, got \(0, 0, 401, 200\)"),
        (GREY, HEAT, (10, 0, 10, 200), "box .* within 400 × 200 pixels"),
        (GREY, HEAT, (-1, 0, 10, 200), "box .* within 400 × 200 pixels"),
    ],
)
def test_heat_maps_that_can_not_be_drawn(ax, photograph, heat, box, message):
    with pytest.raises(ValueError, match=message):
        plots.heat_map(photograph, heat, "stop", False, ax, box)
    assert not ax.images


def test_photographs_of_other_numbers(ax):
    with pytest.raises(TypeError, match="must be uint8 or uint16, got float64"):
        plots.heat_map(GREY / 255, HEAT, "stop", False, ax)
