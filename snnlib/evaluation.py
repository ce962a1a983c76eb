"""How good embeddings are: clusters, verdicts and retrieval, each figure with its 95 % interval.

This room knows nothing of plots.
"""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_chunked, roc_auc_score
from sklearn.metrics.cluster import contingency_matrix

from snnlib.images import check_labels

__all__ = [
    "ClusterAccuracy",
    "Estimate",
    "PairedDifference",
    "RetrievalScores",
    "cluster_accuracy",
    "escapes",
    "false_alarms",
    "mcnemar",
    "proportion",
    "rank_correlation",
    "retrieval_scores",
    "roc_auc",
]

RESAMPLES = 200


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % confidence interval.

    Attributes
    ----------
    value, low, high : float
        The figure and the ends of its interval.
    """

    value: float
    low: float
    high: float

    def percent(self) -> str:
        """The figure as a percentage with its interval, for a sentence.

        Returns
        -------
        str
            Such as ``95.04 % (94.60 to 95.45)``.
        """
        return f"{100 * self.value:.2f} % ({100 * self.low:.2f} to {100 * self.high:.2f})"


def proportion(successes: int, n: int) -> Estimate:
    """Share of successes in n trials, with Wilson's interval.

    Wilson (1927); it stays within [0, 1] and is sensible for 0 or n successes, too.

    Parameters
    ----------
    successes, n : int
        Counts.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If there is no trial, or more successes than trials.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"expected 0 ≤ successes ≤ n and n ≥ 1, got {successes} of {n}")
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(method="wilson")
    return Estimate(float(successes / n), float(interval.low), float(interval.high))


def escapes(truth: ArrayLike, said: ArrayLike, good: str | int = "OK") -> Estimate:
    """Share of defective parts that pass.

    Parameters
    ----------
    truth, said : array_like, shape (n,), str or int
        True class of each part, and the verdict, as names or labels. A class that only one of them
        knows is an error of its own, not a reason to leave a part out.
    good : str or int, default "OK"
        The class of good parts, as it is written in `truth` and `said`.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If shapes do not match, no part is defective, or `good` is neither among the classes nor
        among the verdicts.
    """
    classes, verdicts = _check_verdicts(truth, said)
    known = {*classes.tolist(), *verdicts.tolist()}
    # A set knows 1, 1.0 and True for one; no array of numbers or of truths holds a name.
    if good not in known or isinstance(good, str) != any(isinstance(k, str) for k in known):
        raise ValueError(
            f"the good class {good!r} is neither among the classes nor among the verdicts, which "
            f"are {sorted(known, key=str)}; name it by good=…"
        )
    defective = classes != good
    if not defective.any():
        raise ValueError(f"no part is defective: all {len(classes)} are {good!r}")
    return proportion((verdicts[defective] == good).sum(), defective.sum())


def false_alarms(truth: ArrayLike, said: ArrayLike, good: str | int = "OK") -> Estimate:
    """Share of good parts that do not pass.

    Parameters
    ----------
    truth, said : array_like, shape (n,), str or int
        True class of each part, and the verdict, as names or labels.
    good : str or int, default "OK"
        The class of good parts, as it is written in `truth` and `said`.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If shapes do not match, or no part is good.
    """
    classes, verdicts = _check_verdicts(truth, said)
    well = classes == good
    if not well.any():
        raise ValueError(f"no part is {good!r}, only {sorted(set(classes.tolist()))} are there")
    return proportion((verdicts[well] != good).sum(), well.sum())


@dataclass(frozen=True)
class PairedDifference:
    """Two methods on the same parts.

    Attributes
    ----------
    only_first, only_second : int
        Parts that only one of them has right.
    p : float
        How probable it is that chance alone makes a difference as large, if neither is better.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> PairedDifference:
    """Compare two methods by those parts that only one of them has right.

    McNemar (1947), by the exact binomial distribution: parts that both have right or both have
    wrong say nothing about which is better.

    Parameters
    ----------
    first, second : array_like, shape (n,), bool
        Whether each method has each part right.

    Returns
    -------
    PairedDifference

    Raises
    ------
    ValueError
        If the two are not of the same parts.
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"expected two of shape (n,), got {one.shape} and {other.shape}")
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return PairedDifference(gained, lost, float(p))


def rank_correlation(scores: ArrayLike, ranks: ArrayLike, *, seed: int = 0) -> Estimate:
    """How well scores put things into an order that is told: Spearman's correlation.

    Parameters
    ----------
    scores : array_like, shape (n,), floating point
        What a method says.
    ranks : array_like, shape (n,), floating point
        In which order things belong; equal ones share a rank.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    Estimate
        1 for the same order, -1 for the reverse; interval by bootstrap over things.

    Raises
    ------
    ValueError
        If the two differ in number, a value is not finite, or all are the same.
    """
    pairs = np.array([scores, ranks], dtype=float)
    if pairs.ndim != 2 or not np.isfinite(pairs).all():
        raise ValueError("expected a finite score and rank for each thing")
    if (pairs.min(axis=1) == pairs.max(axis=1)).any():
        raise ValueError("scores or ranks are all the same: there is no order")

    def correlation(one, other):
        return stats.spearmanr(one, other).statistic

    interval = _interval(pairs, correlation, seed, paired=True)
    return Estimate(float(correlation(*pairs)), *interval)


def _check_verdicts(truth: ArrayLike, said: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    classes, verdicts = np.asarray(truth), np.asarray(said)
    if classes.ndim != 1 or classes.shape != verdicts.shape:
        raise ValueError(
            "expected one class and one verdict a part, got shapes "
            f"{classes.shape} and {verdicts.shape}"
        )
    return classes, verdicts


@dataclass(frozen=True)
class ClusterAccuracy:
    """How well k-means clusters agree with classes.

    Attributes
    ----------
    majority : `Estimate`
        Share of images in a cluster whose most frequent class is theirs; two clusters may bear
        the same name.
    matched : `Estimate`
        The same with the best one-to-one assignment of clusters to classes.
    table : ndarray, shape (k, k), int
        Images by cluster (row) and class (column); rows in the order of the matched classes.
    """

    majority: Estimate
    matched: Estimate
    table: np.ndarray = field(repr=False)


def cluster_accuracy(Z: np.ndarray, labels: ArrayLike, *, seed: int) -> ClusterAccuracy:
    """Cluster embeddings by k-means, as many clusters as classes, and compare with the classes.

    A clustering score: the labels of the same images name the clusters, so it is not a
    classifier's accuracy on images it has not seen.

    Parameters
    ----------
    Z : ndarray, shape (n, d)
        Embeddings.
    labels : ndarray, shape (n,), int
        Their classes.
    seed : int
        Seed of the ten starts of k-means, of which the tightest clustering is kept.

    Returns
    -------
    ClusterAccuracy

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If embeddings are not finite, shapes do not match, or there are fewer embeddings than
        classes.
    """
    classes = _labels_of(Z, labels)
    k = len(np.unique(classes))
    clusters = KMeans(k, n_init=10, random_state=seed).fit_predict(Z)
    # A cluster can be empty when points coincide; the table keeps a row for it all the same.
    counts = contingency_matrix(classes, clusters).T
    table = np.zeros((k, k), dtype=np.int64)
    table[: len(counts)] = counts
    rows, columns = linear_sum_assignment(table, maximize=True)
    table = table[rows[np.argsort(columns)]]
    return ClusterAccuracy(
        majority=proportion(table.max(axis=1).sum(), len(classes)),
        matched=proportion(np.trace(table), len(classes)),
        table=table,
    )


def _interval(samples, figure, seed, *, paired):
    """Ends of the interval of a figure of some samples, by bootstrap over what they hold."""
    interval = stats.bootstrap(
        samples,
        figure,
        n_resamples=RESAMPLES,
        vectorized=False,
        paired=paired,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def roc_auc(known: ArrayLike, unknown: ArrayLike, *, seed: int = 0) -> Estimate:
    """Area under the ROC curve of scores that should be higher for unknown things.

    Parameters
    ----------
    known, unknown : array_like, shape (n,), (m,), floating point
        Scores of known and of unknown things, such as distances to the nearest anchor.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    Estimate
        The chance that an unknown thing has a higher score than a known one; interval by bootstrap
        over both.

    Raises
    ------
    ValueError
        If a score is not finite, or there are not two of each kind.
    """
    kinds = [np.asarray(scores, dtype=float) for scores in (known, unknown)]
    for name, scores in zip(("known", "unknown"), kinds):
        if scores.ndim != 1 or len(scores) < 2:
            raise ValueError(f"expected two {name} scores or more, got shape {scores.shape}")
        if not np.isfinite(scores).all():
            bad = np.flatnonzero(~np.isfinite(scores))[0]
            raise ValueError(f"{name} scores must be finite, got {scores[bad]} at position {bad}")

    def area(known, unknown):
        is_unknown = np.repeat([False, True], [len(known), len(unknown)])
        return roc_auc_score(is_unknown, np.concatenate([known, unknown]))

    return Estimate(float(area(*kinds)), *_interval(kinds, area, seed, paired=False))


@dataclass(frozen=True)
class RetrievalScores:
    """How well images find others of their class.

    Attributes
    ----------
    recall_at_1 : `Estimate`
        Share of queries whose nearest image is of their class.
    map_at_r : `Estimate`
        Mean average precision at R, where R is the number of images of the query's class that could
        be found; interval by bootstrap over the queries.
    """

    recall_at_1: Estimate
    map_at_r: Estimate


def retrieval_scores(
    queries: np.ndarray,
    query_labels: ArrayLike,
    gallery: np.ndarray | None = None,
    gallery_labels: ArrayLike | None = None,
    *,
    seed: int = 0,
) -> RetrievalScores:
    """Let queries look up the nearest images of a gallery, by Euclidean distance.

    With R images of its class in the gallery, a query looks at the R nearest. Average precision at
    R is 1/R · Σ over their ranks i of P(i) if the i-th is of the class, else 0, where P(i) is the
    share of the class among the first i. Musgrave, Belongie and Lim (2020), equations 3 and 4.

    Parameters
    ----------
    queries : ndarray, shape (n, d)
        Embeddings of the images that ask.
    query_labels : array_like, shape (n,), int
        Their classes.
    gallery : ndarray, shape (m, d), optional
        Embeddings of the images that are found. If None, each query asks all other queries.
    gallery_labels : array_like, shape (m,), int, optional
        Their classes.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    RetrievalScores

    Raises
    ------
    TypeError
        If labels are not integers, or a gallery comes without labels or the other way round.
    ValueError
        If embeddings are not finite, shapes do not match, there is one query only, or one that has
        no image to find.
    """
    alone = gallery is None
    if alone != (gallery_labels is None):
        raise TypeError("expected a gallery and its labels, or neither")
    asking = _labels_of(queries, query_labels)
    if len(asking) < 2:
        raise ValueError("expected at least two queries, got one: an interval needs more")
    there = asking if alone else _labels_of(gallery, gallery_labels)
    names, sizes = np.unique(there, return_counts=True)
    missing = np.setdiff1d(asking, names)
    if alone:
        missing = names[sizes < 2]
    if len(missing):
        raise ValueError(f"queries of the classes {missing.tolist()} have no image to find")
    wanted = sizes[np.searchsorted(names, asking)] - alone
    reduce = partial(_found, asking=asking, there=there, wanted=wanted, alone=alone)
    chunks = pairwise_distances_chunked(queries, gallery, reduce_func=reduce, working_memory=64)
    first, precision = (np.concatenate(column) for column in zip(*chunks))
    interval = stats.bootstrap(
        (precision,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return RetrievalScores(
        recall_at_1=proportion(first.sum(), len(first)),
        map_at_r=Estimate(float(precision.mean()), float(interval.low), float(interval.high)),
    )


def _labels_of(Z, labels):
    labels = check_labels(labels)
    if len(labels) != len(Z):
        raise ValueError(f"got {len(Z)} embeddings and {len(labels)} labels")
    return labels


def _found(distances, start, *, asking, there, wanted, alone):
    """Of some rows of the distance table: is the nearest right; average precision at R."""
    rows = np.arange(len(distances))
    if alone:
        distances[rows, start + rows] = np.inf  # an image does not find itself
    asking, wanted = asking[start + rows], wanted[start + rows]
    most = wanted.max()
    nearest = np.argpartition(distances, most - 1, axis=1)[:, :most]
    order = np.take_along_axis(distances, nearest, axis=1).argsort(axis=1)
    right = there[np.take_along_axis(nearest, order, axis=1)] == asking[:, None]
    ranks = np.arange(1, most + 1)
    counted = right & (ranks <= wanted[:, None])
    return right[:, 0], (counted * right.cumsum(axis=1) / ranks).sum(axis=1) / wanted
