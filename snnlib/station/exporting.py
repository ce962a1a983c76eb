"""A station as one ONNX file, from the prepared part to the verdict; and one in whole numbers.

Such a file is judged by ONNX Runtime alone, and tells in its metadata how a photograph is prepared,
what its classes are, where its limit is and where that comes from.
"""

import base64
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import nn

from snnlib.extras import extra
from snnlib.images import ImageSet
from snnlib.station.anchors import place_anchors
from snnlib.station.arrays import Arrays
from snnlib.station.deployment import export_onnx
from snnlib.station.doubts import doubts_of_limit
from snnlib.station.evidence import PatchEvidence
from snnlib.station.features import EmbeddingFeatures, MapFeatures
from snnlib.station.judging import FORMAT, METADATA, PARTS, load_judge, sealed
from snnlib.station.looking import prepared_batches, sound
from snnlib.station.onnx_graph import End, Graph
from snnlib.station.parts import Parts, normal_form
from snnlib.station.provenance import library, marks, provenance
from snnlib.station.quantised import QuantisedEmbedding
from snnlib.station.rule import ROUNDING, set_rule
from snnlib.station.station import Station
from snnlib.station.verdict import INVALID, UNKNOWN
from snnlib.whole_files import written_whole

__all__ = ["arrays_in_int8", "export_station", "in_int8"]

SINGLE, DOUBLE = 1, 11  # kinds of values, by ONNX's numbers
OUTPUTS: dict[str, End] = {
    "verdict": (str, "n"),
    "score": (np.float32, "n"),
    "distances": (np.float32, "nk"),
    "strangest": (np.float32, "n"),
    "heat": (np.float32, "nrs"),
    "measured": (np.float32, ("n", 2)),
}
TOLERANCE = 1e-3  # relative, of the scores of probes
SETTINGS = ("method", "false_alarms", "calibration")  # of a rule, from which its limit follows
RANGES = 100  # photographs whose values give the ranges of whole numbers


def export_station(station: Station, file: str | Path) -> None:
    """Write a station as one ONNX file that gives verdicts.

    From the prepared part on all is in the graph: scaling, features, whitening, distances, score,
    rule, and the checks of a photograph. Reading, cutting and resizing stay outside, for
    only Pillow does them as Pillow does. Tiles that speak against a part are not in it.

    Parameters
    ----------
    station : Station
        What to write. Its probes are judged by ONNX Runtime before the file is put in place.
    file : path
        Where to; written whole or not at all.

    Raises
    ------
    TypeError
        If its features are of a kind that has no ONNX.
    ValueError
        If a probe gets another verdict from the graph than from the station.
    """
    model = _model(station)
    with written_whole(file) as unfinished:
        unfinished.write_bytes(sealed(model.SerializeToString()))
        _check(station, unfinished)


def in_int8(station: Station, parts: Parts, progress: bool = False) -> Station:
    """Make the same station from features in 8-bit whole numbers.

    Whole numbers move features a little. So whitening, anchors, evidence and limit are learned
    again from the parts that the station was made from, with the same settings.

    Parameters
    ----------
    station : Station
        Of photographs, with a backbone of `snnlib.backbones`.
    parts : `~snnlib.station.parts.Parts`
        All photographs that it was made from, those of defects that were taught later included.
        They are known by their content.
    progress : bool, default False
        Whether to show progress bars.

    Returns
    -------
    Station

    Raises
    ------
    TypeError
        If the station has other features.
    ValueError
        If a photograph is missing that it was made from, or there is another one with a class.

    Warns
    -----
    UserWarning
        For each of the doubts of the new station.
    """
    if not isinstance(station.features, MapFeatures) or isinstance(station.preparation, Arrays):
        kind = type(station.features).__name__
        raise TypeError(
            f"only features of photographs can be made whole numbers here, got {kind}; for a "
            "station of arrays there is arrays_in_int8"
        )
    first, taught = _of_the_beginning(station, parts)
    random = np.random.default_rng(station.made["seed"])
    some = random.choice(len(first), min(RANGES, len(first)), replace=False)
    features = station.features.in_int8(_images(first.take(np.sort(some)), station.preparation))
    again = Station.fit(
        first,
        station.good,
        **asdict(station.preparation),
        features=features,
        evidence=station.evidence is not None,
        calibration=station.made["aside"],
        method=station.rule.method,
        false_alarms=station.rule.false_alarms,
        seed=station.made["seed"],
        progress=progress,
    )
    for name, photographs in taught.items():
        again = again.with_defect(name, photographs)
    return again


def arrays_in_int8(
    station: Station,
    train: ImageSet,
    calibration: ImageSet,
    taught: Mapping[str, np.ndarray] | None = None,
) -> Station:
    """Make the same station of arrays from a network in 8-bit whole numbers.

    Whole numbers move embeddings a little. So anchors and limit come anew from the parts that the
    station was made from, in the same way. Front and encoder become one network, so that tiles,
    which are replaced between the two, no longer tell what speaks against a part. A part whose
    values lie beyond the range of training parts by more than a fifth is `.INVALID`.

    Parameters
    ----------
    station : Station
        Made by `snnlib.station.station.Station.of_encoder`.
    train, calibration : ImageSet
        The sets that it was made from. They are known by their content.
    taught : dict of str to ndarray, optional
        Parts of each defect that was taught later, by its name.

    Returns
    -------
    Station

    Raises
    ------
    TypeError
        If the station has other features.
    ValueError
        If the sets, or the parts that were taught, are others than the station was made from; if
        no layer of the network has weights to multiply by; if a good calibration part is beyond
        the range.

    Warns
    -----
    UserWarning
        For each of the doubts of the new station.
    """
    if not isinstance(station.features, EmbeddingFeatures):
        kind = type(station.features).__name__
        raise TypeError(f"only a network run by PyTorch can be made whole numbers, got {kind}")
    taught = {normal_form(name): parts for name, parts in (taught or {}).items()}
    made = provenance(train, calibration)
    _check_sets(station, made, train, calibration)
    _check_taught(station, taught)
    features = QuantisedEmbedding.of(station.features, train.images)
    small = replace(
        _learned_anew(station, features, train, calibration),
        made=made,
        made_from=marks(train, calibration),
    )
    for doubt in small.doubts:
        warnings.warn(doubt, stacklevel=2)
    for name in station.made.get("taught", {}):  # in their order
        small = small.with_defect(name, taught[name])
    return small


def _learned_anew(station, features, train, calibration):
    """A station with the anchors and the limit that other features give it."""
    anchors = place_anchors(features.describe(train.images)[0], train.names, mended=False)
    good = np.flatnonzero(calibration.names == station.good)
    points, _ = features.describe(calibration.images[good])
    beyond = good[np.isnan(points).any(axis=1)]
    if len(beyond):
        raise ValueError(
            f"{len(beyond)} good calibration parts lie beyond the range of training parts, the "
            f"first of them part {beyond[0]}: make the station from training parts like these"
        )
    scores = anchors.distances(points)[:, anchors.classes.index(station.good)]
    settings = {name: getattr(station.rule, name) for name in SETTINGS}
    rule = set_rule(scores, None, **settings)
    labels, nearest = [f"part {k}" for k in good], anchors.nearest(points)
    doubts = doubts_of_limit(rule, scores, nearest, anchors, station.good, labels)
    return replace(
        station,
        features=features,
        anchors=anchors,
        evidence=None,
        rule=rule,
        witnesses=points[: len(station.witnesses)],
        doubts=tuple(doubts),
    )


def _check_sets(station, made, train, calibration):
    if made["data"] == station.made["data"]:
        return
    found = marks(train, calibration)
    others = (~np.isin(found, station.made_from)).sum()
    raise ValueError(
        f"the station was made from other sets: {others} of these {len(found)} parts are none of "
        f"its {station.made['parts']}; expected the same training and calibration parts in the "
        "same order, with the same names"
    )


def _check_taught(station, taught):
    told = station.made.get("taught", {})
    if set(taught) != set(told):
        raise ValueError(
            f"the station was taught {sorted(told)} later, got parts of {sorted(taught)}: whole "
            "numbers need those of all"
        )
    for name, parts in taught.items():
        if [f"{mark:016x}" for mark in marks(parts)] != told[name]["marks"]:
            raise ValueError(f"the station was taught {name!r} by other parts than these")


def _of_the_beginning(station, parts):
    """The parts that a station was fitted to, and those of each defect that was taught later."""
    found = marks(parts)
    taught = {
        name: np.array([int(mark, 16) for mark in one["marks"]], dtype=np.uint64)
        for name, one in station.made.get("taught", {}).items()
    }
    lacking = ~np.isin(station.made_from, found)
    if lacking.any():
        raise ValueError(
            f"{lacking.sum()} of the {len(station.made_from)} photographs that the station was "
            "made from are missing: whole numbers need all of them, taught defects included"
        )
    later = np.isin(found, np.concatenate([np.empty(0, np.uint64), *taught.values()]))
    first = ~later & (parts.names != "")
    others = first & ~np.isin(found, station.made_from)
    if others.any():
        raise ValueError(
            f"the station was not made from {parts.files[np.flatnonzero(others)[0]]}, one of "
            f"{others.sum()} such photographs: train a new station, or leave them out"
        )
    defects = {name: parts.take(np.isin(found, of_name)) for name, of_name in taught.items()}
    return parts.take(first), defects


def _images(parts, preparation):
    for batch in sound(prepared_batches(parts, preparation), parts):
        yield from batch.images[:, None]


def _model(station):
    """The whole station as a graph."""
    graph, images, kind = Graph(), PARTS, np.dtype(np.float32)
    if not isinstance(station.preparation, Arrays):
        kind = station.probes.dtype
        images = graph.add("Cast", PARTS, to=SINGLE)
        images = graph.add("Div", images, graph.constant(np.float32(np.iinfo(kind).max)))
    made = _judged_in(graph, station, images)
    for name, written in made.items():
        graph.add("Identity", written, output=name)
    told = {METADATA: json.dumps(_told(station), ensure_ascii=False, allow_nan=False)}
    given = {PARTS: (kind, ("n", *station.shape))}
    return graph.model(given, {name: OUTPUTS[name] for name in made}, told)


def _judged_in(graph, station, images):
    """Names of all that is found out about images, by what it is called outside."""
    points, patches = _described_in(graph, station, images)
    made = {}
    if isinstance(station.evidence, PatchEvidence):
        heat, made["strangest"], looks = station.evidence.write_in(graph, patches)
        limit = graph.constant(np.float32(station.rule.strange_limit))
        made["heat"] = graph.add("Div", heat, limit)
        points = graph.add("Concat", points, looks, axis=1)
    if station.metric is not None:
        points = graph.add("Cast", points, to=DOUBLE)
        matrix = graph.add("Cast", graph.constant(station.metric.matrix_), to=DOUBLE)
        points = graph.add("MatMul", points, matrix)
        points = graph.add("Cast", points, to=SINGLE)  # as the station keeps them
    distances = _distances_in(graph, station.anchors, points)
    verdict, score = _decided_in(graph, station, distances, made.get("strangest"))
    if station.checks is not None:
        made["measured"] = _measured_in(graph, images)
        valid = _within(graph, made["measured"], station.checks)
    else:
        valid = _finite(graph, points)
    invalid = graph.constant(np.int64(len(station.anchors.classes) + 1))
    verdict = graph.add("Where", valid, verdict, invalid)
    score = graph.add("Where", valid, score, graph.constant(np.float64(np.nan)))
    words = graph.constant(np.array([*station.anchors.classes, UNKNOWN, INVALID]))
    return made | {
        "verdict": graph.add("Gather", words, verdict),
        "score": graph.add("Cast", score, to=SINGLE),
        "distances": graph.add("Cast", distances, to=SINGLE),
    }


def _described_in(graph, station, images):
    if isinstance(station.features, MapFeatures):
        places = isinstance(station.evidence, PatchEvidence)
        return station.features.write_in(graph, images, places=places)
    if isinstance(station.features, QuantisedEmbedding):
        return station.features.write_in(graph, images), None
    if not isinstance(station.features, EmbeddingFeatures):
        kind = type(station.features).__name__
        raise TypeError(f"no ONNX for features of the kind {kind}, only for those of snnlib")
    with extra("station"):
        import onnx

    front, encoder = station.features.front, station.features.encoder
    network = encoder if front is None else nn.Sequential(front, encoder)
    with TemporaryDirectory() as folder:
        file = Path(folder, "encoder.onnx")
        export_onnx(network, station.shape, file)
        (points,) = graph.include(onnx.load(file), images)
    return points, None


def _distances_in(graph, anchors, points):
    """Distances to each class (n, k), of differences, not of products that nearly cancel."""
    axis = graph.constant(np.array([1]))
    rows = graph.add("Unsqueeze", graph.add("Cast", points, to=DOUBLE), axis)
    known = graph.constant(anchors.points.astype(np.float64)[None])
    last = graph.constant(np.array([2]))
    squares = graph.add("ReduceSumSquare", graph.add("Sub", rows, known), last, keepdims=0)
    squares = graph.add("Sub", squares, graph.constant(anchors.errors.astype(np.float64)))
    to_anchors = graph.add("Sqrt", graph.add("Max", squares, graph.constant(np.float64(0))))
    of_classes = [
        graph.add(
            "ReduceMin",
            graph.add("Gather", to_anchors, graph.constant(positions), axis=1),
            axis,
        )
        for positions in (np.flatnonzero(anchors.names == name) for name in anchors.classes)
    ]
    return graph.add("Concat", *of_classes, axis=1)


def _decided_in(graph, station, distances, strangest):
    """Position of the verdict among the words, and the score."""
    rule, classes = station.rule, station.anchors.classes
    good = graph.constant(np.int64(classes.index(station.good)))
    to_good = graph.add("Gather", distances, good, axis=1)
    score = graph.add("Div", to_good, graph.constant(np.float64(rule.distance_scale)))
    if rule.strange_scale is not None:
        scale = graph.constant(np.float64(rule.strange_scale))
        strange = graph.add("Div", graph.add("Cast", strangest, to=DOUBLE), scale)
        score = graph.add("Max", score, strange)
    nearest = graph.add("ArgMin", distances, axis=1, keepdims=0)
    limit = graph.constant(np.float64(rule.limit * (1 + ROUNDING)))
    beyond = graph.add("Not", graph.add("LessOrEqual", score, limit))
    stray = graph.add("And", graph.add("Equal", nearest, good), beyond)
    return graph.add("Where", stray, graph.constant(np.int64(len(classes))), nearest), score


def _measured_in(graph, images):
    """Brightness and sharpness (n, 2), as `brightness_and_sharpness` has them."""
    places = graph.constant(np.array([1, 2, 3]))
    grey = graph.add("ReduceMean", images, graph.constant(np.array([1])))
    around = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=np.float32)
    laplacian = graph.add("Conv", grey, graph.constant(around[None, None]))
    off = graph.add("Sub", laplacian, graph.add("ReduceMean", laplacian, places))
    sharp = graph.add("ReduceMean", graph.add("Mul", off, off), places, keepdims=0)
    bright = graph.add("ReduceMean", grey, places, keepdims=0)
    last = graph.constant(np.array([1]))
    both = (graph.add("Unsqueeze", one, last) for one in (bright, sharp))
    return graph.add("Concat", *both, axis=1)


def _within(graph, measured, checks):
    """Whether both values of each photograph keep their ranges."""
    low, high = (graph.constant(np.float32(end)) for end in (checks.low, checks.high))
    enough = graph.add("GreaterOrEqual", measured, low)
    both = graph.add("And", enough, graph.add("LessOrEqual", measured, high))
    least = graph.add(
        "ReduceMin", graph.add("Cast", both, to=SINGLE), graph.constant(np.array([1])), keepdims=0
    )
    return graph.add("Greater", least, graph.constant(np.float32(0)))


def _finite(graph, points):
    """Whether features make a point of finite numbers of each part."""
    off = graph.add("Sub", points, points)  # NaN of what is infinite, too
    total = graph.add("ReduceSum", off, graph.constant(np.array([1])), keepdims=0)
    return graph.add("Not", graph.add("IsNaN", total))


def _told(station):
    """What a judge must know beside the graph, and what whoever audits it asks."""
    if isinstance(station.preparation, Arrays):
        prepared = {"largest": station.preparation.largest}
    else:
        prepared = asdict(station.preparation)
    checks = station.checks
    return {
        "checksum": "0" * 64,  # first, and written over
        "format": FORMAT,
        "library": library(),
        "good": station.good,
        "classes": station.classes,
        "rule": asdict(station.rule),
        "preparation": prepared,
        "checks": None if checks is None else [checks.low.tolist(), checks.high.tolist()],
        "doubts": list(station.doubts),
        "made": station.made,
        "whole_numbers": station.whole_numbers,
        "made_from": base64.b64encode(station.made_from.astype("<u8").tobytes()).decode(),
    }


def _check(station, file):
    """Refuse a file that says other things of the probes than the station does."""
    session = load_judge(file).session
    verdicts, scores = session.run(["verdict", "score"], {PARTS: station.probes})
    table = station.judge_probes()
    same = np.isclose(scores, table.score, rtol=TOLERANCE, equal_nan=True)
    wrong = np.flatnonzero((verdicts != table.verdict.to_numpy()) | ~same)
    if len(wrong):
        k = wrong[0]
        raise ValueError(
            f"the graph gives another verdict than the station: on its probe {k} {verdicts[k]!r} "
            f"with a score of {scores[k]:.6g}, expected {table.verdict[k]!r} with "
            f"{table.score[k]:.6g}"
        )
