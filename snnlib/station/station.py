"""The station: from photographs of parts, or maps of them, to verdicts.

It knows nothing of what is inspected.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from torch import nn

from snnlib.backbones import pretrained
from snnlib.images import ImageSet
from snnlib.station.anchors import Anchors, anchors_a_class, place_anchors
from snnlib.station.arrays import OUT_OF_RANGE, Arrays, Transform
from snnlib.station.checks import Checks, brightness_and_sharpness
from snnlib.station.doubts import (
    check_bits,
    doubts_of_anchor,
    doubts_of_defects,
    doubts_of_invalid,
    doubts_of_limit,
    doubts_of_parts,
    doubts_of_proportions,
)
from snnlib.station.evidence import KEPT, PatchEvidence, Reservoir, TileEvidence, learn_patches
from snnlib.station.features import EmbeddingFeatures, Features, MapFeatures
from snnlib.station.learning import Learning
from snnlib.station.looking import Source, look_at, look_at_prepared, sound
from snnlib.station.lots import keep_aside
from snnlib.station.parts import Parts, as_parts, normal_form
from snnlib.station.preparation import Preparation, in_16_bits
from snnlib.station.provenance import marks, provenance, thumbprint
from snnlib.station.rule import Rule, set_rule
from snnlib.station.verdict import INVALID, UNKNOWN, Verdict
from snnlib.whitening import WithinClassWhitening

__all__ = ["Station"]

LOOKED_AT = 1_000  # good parts that patches are taken of; more would take time and tell no more
LEAST = 4  # different good photographs to learn from
SPREAD = 5_000  # parts whose spread is measured, of all classes together
CHUNK = 1_024  # points that are whitened at a time
WITNESSES = 500  # good calibration parts that are kept, to question later anchors
PROBES = 4  # good calibration parts, and parts of defects, that are kept to be judged again


@dataclass(frozen=True, eq=False)
class Station:
    """All that it takes to judge a part; made by `fit`, or by `of_encoder`.

    Attributes
    ----------
    preparation : `.Preparation` or `.Arrays`
        How a file, or an array, becomes an image.
    shape : tuple of int
        Channels, height and width of an image.
    features : `.Features`
        What is seen in an image.
    metric : `.WithinClassWhitening` or None
        Makes those directions of features count alike in which parts of one class differ; None for
        an encoder that was trained to place parts.
    anchors : `.Anchors`
        One for each class, or several.
    evidence : `.PatchEvidence`, `.TileEvidence` or None
        What speaks against each place of a part.
    good : str
        Name of the class of good parts.
    rule : `.Rule`
        What passes.
    checks : `.Checks` or None
        What a photograph must be like to be judged.
    witnesses : ndarray, shape (m, d)
        Where good calibration parts lie: a new anchor must not be nearer to them.
    doubts : tuple of str
        What about the parts deserves doubt; empty if nothing does.
    probes : ndarray, shape (k, c, h, w), uint8, uint16 or float32
        A few prepared parts, which are judged again where the station is loaded.
    made : dict
        Of what parts and by what code it was made, and when, as `snnlib.station.provenance` tells
        it; and each defect that was taught since.
    made_from : ndarray, shape (n,), uint64
        Marks of all these parts, by which they are known if they come to be judged.

    Raises
    ------
    ValueError
        If the good class has no anchor.
    """

    preparation: Preparation | Arrays
    shape: tuple[int, ...]
    features: Features
    metric: WithinClassWhitening | None
    anchors: Anchors
    evidence: PatchEvidence | TileEvidence | None
    good: str
    rule: Rule
    checks: Checks | None
    witnesses: np.ndarray
    probes: np.ndarray
    made: dict[str, Any]
    made_from: np.ndarray
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.good not in self.anchors.classes:
            raise ValueError(
                f"the good class {self.good!r} has no anchor, only {self.anchors.classes} have one"
            )

    def __repr__(self) -> str:
        count = len(self.anchors.classes)
        return (
            f"Station({count} class{'es' * (count != 1)}, {self.good!r} up to "
            f"{self.rule.limit:.3g}, limit from {self.rule.calibration})"
        )

    @property
    def classes(self) -> list[str]:
        """Names of all classes that it knows, sorted."""
        return self.anchors.classes

    @property
    def whole_numbers(self) -> bool:
        """Whether its features are in 8-bit whole numbers."""
        return getattr(self.features, "whole_numbers", False)

    @property
    def limit(self) -> float:
        """Largest score that passes."""
        return self.rule.limit

    @classmethod
    def fit(
        cls,
        parts: Parts | str | Path,
        good: str = "OK",
        *,
        size: int | tuple[int, int] | None = 224,
        crop: tuple[int, int, int, int] | None = None,
        grey: bool = False,
        bits: int | None = None,
        features: Features | Learning | None = None,
        evidence: bool = True,
        calibration: str | None = None,
        method: str = "quantile",
        false_alarms: float = 0.005,
        seed: int = 0,
        progress: bool = True,
    ) -> Self:
        """Make a station from photographs.

        The limit comes from good parts of a lot that is kept aside. If there is one lot only, they
        are the last fifth of its good parts in the order of their names. Defective parts of the
        lot that is kept aside are not learned from either, unless their kind is in no other lot.

        Parameters
        ----------
        parts : `~snnlib.station.parts.Parts` or path
            Photographs with their classes, and lots if these are known. Good ones are enough.
        good : str, default "OK"
            Name of the class of good parts.
        size, crop, grey, bits
            How a photograph becomes an image, as `.Preparation` has it.
        features : `.Features` or `.Learning`, optional
            What looks at images; a pretrained backbone if None. Or a way to learn that from the
            parts, of `snnlib.station.learning`.
        evidence : bool, default True
            Whether the strangest place of a part counts, too, and a heat map shows it.
        calibration : str, optional
            Lot that is kept aside; the last in the order of names if None.
        method : {"quantile", "conformal", "tolerance"}, default "quantile"
            How the limit is set: see `snnlib.station.limits`.
        false_alarms : float, default 0.005
            Share of good parts that may be stopped, as the method means it.
        seed : int, default 0
            Seed of all that is drawn at random.
        progress : bool, default True
            Whether to show progress bars.

        Returns
        -------
        Station

        Raises
        ------
        ValueError
            If there are fewer than five good parts, or none of the lot to be kept aside; a file
            can't be read; sizes differ and `size` is None; or files of 16 bits hold fewer.

        Warns
        -----
        UserWarning
            For each of the `doubts`.
        """
        parts = parts if isinstance(parts, Parts) else Parts.read(parts)
        good = normal_form(good)
        calibration = None if calibration is None else normal_form(calibration)
        train, aside, calibrated_on = keep_aside(parts, good, calibration)
        preparation = Preparation(size, crop, grey, bits)
        features = _ready(features, train, preparation, seed, progress)
        patches = None
        if evidence:
            some_good = _some_good(train, good, seed)
            words = "looking at good parts" if progress else None
            looks = look_at(some_good, preparation, features, progress=words)
            patches = _in_int8_as(features, _patches(looks, seed))

        learned = _see(train, preparation, features, patches, "learning" if progress else None)
        metric, anchors = _anchored(learned.points, train, good, seed)
        words = "calibrating" if progress else None
        kept = _see(aside, preparation, features, patches, words, learned.shape)
        check_bits([*learned.largest, *kept.largest], bits)
        points, is_good = _whitened(metric, kept.points), aside.names == good
        rule, doubts = _ruled(
            anchors,
            good,
            points[is_good],
            None if patches is None else kept.strangest[is_good],
            labels=[_short(file) for file, true in zip(aside.files, is_good) if true],
            settings={"method": method, "false_alarms": false_alarms, "calibration": calibrated_on},
        )
        measured = np.concatenate([learned.measured[train.names == good], kept.measured[is_good]])
        checks = Checks.of(measured)
        decided = _decide(anchors, good, rule, points, kept.strangest)
        defects = np.flatnonzero(~is_good)
        station = cls(
            preparation=preparation,
            shape=learned.shape,
            features=features,
            metric=metric,
            anchors=anchors,
            evidence=patches,
            good=good,
            rule=rule,
            checks=checks,
            witnesses=points[is_good][:WITNESSES],
            probes=_probes_of_files(train, aside, good, preparation, learned.deep or kept.deep),
            made=provenance(train, aside) | {"aside": calibration, "seed": seed},
            made_from=marks(train, aside),
        )
        return station._doubting(
            [
                *doubts_of_parts(parts, train, good),
                *doubts_of_proportions([] if crop else [*learned.sizes, *kept.sizes]),
                *doubts,
                *doubts_of_invalid(train.names, [checks.fault(one) for one in learned.measured]),
                *doubts_of_defects(
                    aside.names[defects],
                    (decided.verdict == good).to_numpy()[defects],
                    [_short(aside.files[k]) for k in defects],
                ),
            ]
        )

    @classmethod
    def of_encoder(
        cls,
        encoder: nn.Module,
        train: ImageSet,
        calibration: ImageSet,
        *,
        good: str,
        tiles: tuple[int, int],
        front: nn.Module | None = None,
        transform: Transform | None = None,
        method: str = "quantile",
        false_alarms: float = 0.005,
    ) -> Self:
        """Make a station of a trained encoder, for parts that come as arrays.

        The anchor of a class is the mean of its training embeddings, and the score is the distance
        to that of the good parts.

        Parameters
        ----------
        encoder : torch.nn.Module
            Trained on what `front` puts out. The station keeps a copy.
        train : ImageSet
            Training parts as they come, before `front`: they give the anchors.
        calibration : ImageSet
            Parts that were not trained on; only the good ones are looked at.
        good : str
            Name of the class of good parts.
        tiles : (int, int)
            Rows and columns of tiles in which evidence is looked for.
        front : torch.nn.Module, optional
            What is done to parts before the encoder sees them.
        transform : `.Transform`, optional
            If parts may also come as it takes them.
        method, false_alarms
            As for `fit`.

        Returns
        -------
        Station

        Raises
        ------
        ValueError
            If a set has no good part, the share is out of range, images do not match each other or
            the front, or do not fall into tiles as the encoder sees them, or embeddings are not
            finite.

        Warns
        -----
        UserWarning
            For each of the `doubts`.
        """
        shape = train.images.shape[1:]
        if calibration.images.shape[1:] != shape:
            raise ValueError(
                f"calibration parts must be of shape {shape} as the training parts, "
                f"got {calibration.images.shape[1:]}"
            )
        trained = _good_parts(train, good, "training")
        kept = _good_parts(calibration, good, "calibration")
        features = EmbeddingFeatures(encoder, front)
        centre = features.seen(train.images[trained]).mean(axis=0, dtype=np.float64)
        evidence = TileEvidence(centre.astype(np.float32), (tiles[0], tiles[1]))
        anchors = place_anchors(features.describe(train.images)[0], train.names, mended=False)
        largest = float(np.abs(train.images).max())
        preparation = Arrays(shape, largest, transform)
        points, _ = features.describe(preparation.prepare(calibration.images[kept]))
        rule, doubts = _ruled(
            anchors,
            good,
            points,
            None,
            labels=[f"part {k}" for k in kept],
            settings={
                "method": method,
                "false_alarms": false_alarms,
                "calibration": "calibration parts",
            },
        )
        station = cls(
            preparation=preparation,
            shape=shape,
            features=features,
            metric=None,
            anchors=anchors,
            evidence=evidence,
            good=good,
            rule=rule,
            checks=None,
            witnesses=points[:WITNESSES],
            probes=_probes_of_arrays(train, calibration, good),
            made=provenance(train, calibration),
            made_from=marks(train, calibration),
        )
        return station._doubting(doubts)

    def _doubting(self, doubts):
        """The same station with its doubts, which are told."""
        for doubt in doubts:
            warnings.warn(doubt, stacklevel=3)
        return replace(self, doubts=(*self.doubts, *doubts))

    def judge(self, source: Source, progress: bool = False) -> pd.DataFrame:
        """Judge many parts.

        Parameters
        ----------
        source : `~snnlib.station.parts.Parts`, path, iterable of paths, or ndarray
            Photographs: a folder, one file or a list of them, or frames (n, h, w) or (n, h, w, 3)
            of 8 or 16 bits from a camera. For a station of arrays, parts (n, c, h, w), floating
            point, or what its transform takes.
        progress : bool, default False
            Whether to show a progress bar.

        Returns
        -------
        DataFrame
            A row a part: ``file``, if parts are files; ``verdict``, which is the name of the
            nearest class, `.UNKNOWN` or `.INVALID`; ``score``; ``nearest``, ``distance``,
            ``second`` and ``second_distance``; ``to_good``, the distance to the nearest good
            anchor; ``strangest``, the strangeness of the strangest place, if it counts; ``ms``, the
            time that its features took; and ``why`` a photograph is not judged.

        Raises
        ------
        TypeError, ValueError
            If the source is not what the station judges, or there is nothing in it. A single
            photograph that can't be read is `.INVALID`.
        """
        if not isinstance(source, np.ndarray) and isinstance(self.preparation, Preparation):
            source = as_parts(source)
        looks = self._looks(source, "judging" if progress else None)
        table = pd.concat([self._table(look) for look in looks]).sort_index()
        if isinstance(source, Parts):
            table.insert(0, "file", [str(file) for file in source.files])
        return table

    def _looks(self, source, progress=None):
        return look_at(source, self.preparation, self.features, self.shape, progress)

    def _table(self, look):
        """A row for each part of a batch."""
        faults = self._faults(look)
        valid = ~np.isin(look.positions, list(faults))
        points, strangest = self._placed(look, valid)
        table = _decide(self.anchors, self.good, self.rule, points, strangest)
        table["ms"] = 1000 * look.seconds / max(len(look.images), 1)
        table["why"] = ""
        table.index = look.positions[valid]
        if faults:
            table = table.reindex([*table.index, *faults])
            words = {"verdict": INVALID, "nearest": "", "second": "", "why": list(faults.values())}
            for column, word in words.items():
                table.loc[list(faults), column] = word
        return table

    def _faults(self, look):
        """What is wrong with photographs, by position."""
        faults = dict(look.faults)
        if self.checks is None:
            nowhere = ~np.isfinite(look.points).all(axis=1)
            faults |= dict.fromkeys(look.positions[nowhere].tolist(), OUT_OF_RANGE)
        else:
            for position, measured in zip(
                look.positions.tolist(), brightness_and_sharpness(look.images)
            ):
                fault = self.checks.fault(measured)
                if fault:
                    faults[position] = fault
        return faults

    def _placed(self, look, chosen):
        """Points of some parts of a batch, and how strange their strangest places are."""
        if not len(look.positions[chosen]):
            nothing = None if self.rule.strange_scale is None else np.empty(0)
            return np.empty((0, self.anchors.points.shape[1])), nothing
        points, strangest = _described(look, self.evidence)
        strangest = None if strangest is None else strangest[chosen]
        return _whitened(self.metric, points[chosen]), strangest

    def judge_probes(self) -> pd.DataFrame:
        """Judge the probes: what this station says of them, its file must say again.

        Returns
        -------
        DataFrame
            As `judge`.
        """
        return self._table(look_at_prepared(self.probes, self.features))

    def explain(self, part: str | Path | np.ndarray) -> Verdict:
        """Judge one part, and find what speaks most against it.

        Parameters
        ----------
        part : path or ndarray
            One of what `judge` takes: a file, a frame (h, w) or (h, w, 3), or a part (c, h, w) or
            (h, w).

        Returns
        -------
        Verdict

        Raises
        ------
        TypeError, ValueError
            As `judge`; if a file can't be read.
        """
        (look,) = self._looks(self._alone(part))
        row = self._table(look).iloc[0]
        if not len(look.images):
            raise ValueError(row.why)
        return Verdict.of(
            row.to_dict(),
            self.good,
            self.limit,
            seen=self.features.seen(look.images)[0],
            heat=None if row.verdict == INVALID else self._heat(look),
            tiled=isinstance(self.evidence, TileEvidence),
        )

    def _alone(self, part):
        """One part as a source of one."""
        if not isinstance(part, np.ndarray):
            return Parts.of([part]) if isinstance(self.preparation, Preparation) else part
        if isinstance(self.preparation, Arrays) and part.ndim == 2:
            part = part[None]
        return part[None]

    def _heat(self, look):
        """How much each place of the only part of a batch speaks against it."""
        if isinstance(self.evidence, PatchEvidence):
            return self.evidence.strangeness(look.patches)[0] / self.rule.strange_limit
        if not isinstance(self.evidence, TileEvidence):
            return None
        describe, good = self.features.of_seen, self.anchors.classes.index(self.good)
        return self.evidence.drops(
            self.features.seen(look.images)[0],
            lambda variants: self.anchors.distances(describe(variants))[:, good],
        )

    def with_defect(self, name: str, source: Source) -> Self:
        """Teach a new defect without training: its anchor is the mean of a few parts.

        Parameters
        ----------
        name : str
            What it is to be called.
        source : `~snnlib.station.parts.Parts`, path, iterable of paths, or ndarray
            At least one part with the defect, as `judge` takes them; five are a good beginning.

        Returns
        -------
        Station
            The old one is left as it was.

        Raises
        ------
        ValueError
            If there is a class of that name, the name is a verdict's, or a photograph would be
            `.INVALID`.

        Warns
        -----
        UserWarning
            If the new anchor lies near good parts.
        """
        name = normal_form(name)
        parts = source if isinstance(source, np.ndarray) else as_parts(source)
        points, images = [], []
        for look in self._looks(parts):
            for position, fault in self._faults(look).items():
                raise ValueError(f"photograph {position} of {name!r} would be INVALID: {fault}")
            points.append(self._placed(look, slice(None))[0])
            images.append(look.images)
        taught_by = marks(parts)
        taught = {
            "parts": len(taught_by),
            "data": thumbprint(np.concatenate(images)),
            "marks": [f"{mark:016x}" for mark in taught_by],
        }
        made = self.made | {"taught": self.made.get("taught", {}) | {name: taught}}
        anchors = self.anchors.with_anchor(name, np.concatenate(points))
        doubts = doubts_of_anchor(name, anchors, self.good, self.rule.reach, self.witnesses)
        made_from = np.concatenate([self.made_from, taught_by])
        taught_station = replace(self, anchors=anchors, made=made, made_from=made_from)
        return taught_station._doubting(doubts)


def _ready(
    features: Features | Learning | None,
    train: Parts,
    preparation: Preparation,
    seed: int,
    progress: bool,
) -> Features:
    """Features to look with, learned if they must be."""
    if features is None:
        return MapFeatures(pretrained())
    if isinstance(features, Features):
        return features
    return features(train, preparation, seed=seed, progress=progress)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What was seen of all photographs."""

    points: np.ndarray
    strangest: np.ndarray | None
    measured: np.ndarray
    shape: tuple[int, ...]
    sizes: list[tuple[int, int]]
    largest: list[int | None]
    deep: bool


def _see(parts, preparation, features, patches, progress, shape=None):
    """Look at all photographs, each of which must be sound."""
    points, strangest, measured, photographs = np.empty(0), [], [], []
    for look in sound(look_at(parts, preparation, features, shape, progress), parts):
        of_look, how_strange = _described(look, patches)
        if not len(points):
            points = np.empty((len(parts), of_look.shape[1]), dtype=np.float32)
        points[look.positions] = of_look
        strangest.append(how_strange)
        measured.append(brightness_and_sharpness(look.images))
        photographs += [(one.size, one.largest, one.pixels.dtype) for one in look.photographs]
        shape = look.images.shape[1:]
    sizes, largest, kinds = zip(*photographs)
    return _Seen(
        points,
        None if strangest[0] is None else np.concatenate(strangest),
        np.concatenate(measured),
        shape,
        list(sizes),
        list(largest),
        np.dtype(np.uint16) in kinds,
    )


def _described(look, evidence):
    """Points of a batch, with what is strange about each part; and how strange that is."""
    if not isinstance(evidence, PatchEvidence):
        return look.points, None
    strangest, looks = evidence.describe(look.patches)
    return np.concatenate([look.points, looks], axis=1), strangest


def _anchored(points, train, good, seed):
    """The metric and the anchors that training points give; the points are whitened in place."""
    _check_copies(points[train.names == good], good)
    some = _some_of_each(train.names, seed)
    names, lots = train.names[some], train.lots[some]
    with threadpool_limits(1):  # steps so small that threads would wait for each other
        metric = WithinClassWhitening().fit(points[some], names)
        metric.matrix_ = metric.matrix_.astype(np.float32)  # as its file keeps it
        a_class = anchors_a_class(points[some], names, lots, seed=seed)
        known = _whitened(metric, points)
        return metric, place_anchors(known, train.names, a_class, seed=seed)


def _check_copies(points, good):
    """Refuse good photographs of which nearly all are copies: they have no spread to learn from."""
    distinct = len(np.unique(points, axis=0))
    if distinct < LEAST:
        raise ValueError(
            f"the {len(points)} photographs of {good!r} to learn from hold {distinct} different "
            f"ones, at least {LEAST} are needed"
        )


def _some_good(train, good, seed):
    """Good parts to take patches of: not more than tell what good places look like."""
    positions = np.flatnonzero(train.names == good)
    return train.take(_at_most(LOOKED_AT, positions, np.random.default_rng(seed)))


def _at_most(size, positions, random):
    """So many positions, drawn at random and in their order; all if there are no more."""
    return np.sort(random.choice(positions, min(size, len(positions)), replace=False))


def _patches(looks, seed):
    """The good patches that others are compared with; None if the network knows no places."""
    reservoir = Reservoir(KEPT, seed=seed)
    for look in looks:
        if look.patches is None:
            return None
        reservoir.add(look.patches.transpose(0, 2, 3, 1).reshape(-1, look.patches.shape[1]))
    with threadpool_limits(1):
        return learn_patches(reservoir.rows, seed=seed)


def _in_int8_as(features, patches):
    """Patches as small as the features that are compared with them."""
    small = patches is not None and getattr(features, "whole_numbers", False)
    return patches.in_int8() if small else patches


def _some_of_each(names, seed):
    """Positions of parts whose spread is measured: more would take memory and tell no more."""
    random, classes = np.random.default_rng(seed), np.unique(names)
    size = SPREAD // len(classes)
    chosen = [_at_most(size, np.flatnonzero(names == name), random) for name in classes]
    return np.sort(np.concatenate(chosen))


def _whitened(metric, points):
    """Points after whitening; it takes their place, since there may be many."""
    if metric is not None:
        for start in range(0, len(points), CHUNK):
            chunk = slice(start, start + CHUNK)
            points[chunk] = metric.transform(points[chunk])
    return points


def _ruled(anchors, good, points, strangest, *, labels, settings):
    """The rule that good calibration parts set, and what about them deserves doubt."""
    distances = anchors.distances(points)
    rule = set_rule(distances[:, anchors.classes.index(good)], strangest, **settings)
    decided = _decide(anchors, good, rule, points, strangest)
    scores, nearest = decided.score.to_numpy(), decided.nearest.to_numpy()
    return rule, doubts_of_limit(rule, scores, nearest, anchors, good, labels)


def _decide(anchors, good, rule, points, strangest):
    """Verdict on each part, and what it rests on."""
    names = np.array(anchors.classes)
    to_each = anchors.distances(points) if len(points) else np.empty((0, len(names)))
    to_good = to_each[:, anchors.classes.index(good)]
    if len(names) == 1:  # good parts only: there is no second
        names = np.append(names, "")
        to_each = np.column_stack([to_each, np.full(len(points), np.nan)])
    nearest, second = np.argsort(to_each, axis=1)[:, :2].T  # NaN comes last
    score, row = rule.score(to_good, strangest), np.arange(len(points))
    stray = (names[nearest] == good) & ~rule.passes(score)
    columns = {
        "verdict": np.where(stray, UNKNOWN, names[nearest]),
        "score": score,
        "nearest": names[nearest],
        "distance": to_each[row, nearest],
        "second": names[second],
        "second_distance": to_each[row, second],
        "to_good": to_good,
    }
    return pd.DataFrame(columns | ({} if strangest is None else {"strangest": strangest}))


def _probes_of_files(train, aside, good, preparation, deep):
    """A few photographs, prepared: good ones to set the limit, and one of each of some defects.

    In 16 bits if any of the parts were that deep.
    """
    kept = [file for file, name in zip(aside.files, aside.names) if name == good][:PROBES]
    for name in np.unique(train.names[train.names != good])[:PROBES]:
        kept.append(train.files[train.names.tolist().index(name)])
    found = [preparation.prepare(file).pixels for file in kept]
    return np.stack([in_16_bits(pixels) for pixels in found] if deep else found)


def _probes_of_arrays(train, calibration, good):
    """A few parts: good ones to set the limit, and one of each of some defects."""
    kept = [calibration.images[calibration.names == good][:PROBES]]
    for name in np.unique(train.names[train.names != good])[:PROBES]:
        kept.append(train.images[train.names == name][:1])
    return np.concatenate(kept).astype(np.float32)


def _good_parts(parts, good, what):
    """Positions of good parts in a set."""
    if good not in parts.names:
        there = np.unique(parts.names).tolist()
        raise ValueError(f"no {what} part is {good!r}, only {there} are there")
    return np.flatnonzero(parts.names == good)


def _short(file):
    """A file by its last folder and its name."""
    return str(Path(*file.parts[-2:]))
