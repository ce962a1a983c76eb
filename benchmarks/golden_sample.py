"""Golden sample: boards against their templates, by subtraction and by detectors.

    python benchmarks/golden_sample.py

900 pairs of DeepPCB to learn from, 100 to choose thresholds on, 500 to test. Detectors of one plan
differ in what their head is given: embeddings of both pictures and their difference, both without
it, or that of the tested board alone. Sizes, rate and epochs were chosen on the 100. Then each kind
of defect is left out of the training in turn: its defects are painted over with the template, so
that no detector ever saw one. Last, pictures that are moved, and templates of other boards.

A training that was broken off goes on after its last whole epoch. Seconds of training are those of
two threads, where the process has them.
"""

import json
from functools import partial

import numpy as np
import torch
from measuring import seconds_of
from recording import begin, show
from threadpoolctl import threadpool_limits

from snnlib.array_cache import cache_folder
from snnlib.boxes import Boxes
from snnlib.data.boards import KINDS, BoardSet, load_boards
from snnlib.detection.detector import Detector
from snnlib.detection.finding import embeddings_of, find
from snnlib.detection.learning import BoardBatches, detection_loss
from snnlib.detection.scoring import (
    average_precisions,
    best_threshold,
    counts_at,
    f_score,
    match,
    mean_average_precision,
)
from snnlib.detection.subtraction import subtract
from snnlib.evaluation import mcnemar
from snnlib.station.anchors import place_anchors
from snnlib.training import fit, one_cycle
from snnlib.whitening import WithinClassWhitening

SEEDS = (0, 1, 2)
LOOKS = ("difference", "both", "tested")
BOARDS = dict.fromkeys(("train", "validation", "test"))  # how many of each; None is all
EPOCHS, LEFT_OUT_EPOCHS, BATCH, RATE = 20, 6, 64, 4e-3
MARKED = "44000020"  # a test picture on which somebody has drawn known boxes, with their names
SHORT, SHORT_SEEDS = "one epoch", (0, 1, 2, 3, 4)  # what the page trains
SHORT_TEST = 100  # boards that it tests on
TOLERANCES = (0, 1, 2, 3, 4)  # pixels
SHIFTS = (0, 1, 2, 3, 4, 6, 8, 12, 16)  # pixels
OFF = (
    *(f"moved by {pixels}" for pixels in SHIFTS),
    "template of the same board",
    "template of another board",
)
EXAMPLES, DRAWS = 5, 20  # of a new kind, and how often they are drawn
TIMED = 64  # pairs
ROOM = 10  # pixels by which known boxes reach beyond what has changed


def trained(boards, looks, seed, *, epochs, name):
    """A detector that has learned from boards, and the seconds that it took."""
    detector = Detector(len(KINDS), looks, seed=seed)
    checkpoint = cache_folder() / "golden_sample" / f"{name}.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    history = fit(
        detector,
        BoardBatches(boards, BATCH, seed),
        detection_loss,
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=RATE, weight_decay=1e-4),
        schedule=one_cycle(RATE),
        checkpoint=checkpoint,
        seed=seed,
        progress=False,
    )
    return detector, sum(history.seconds)


# Names


def anchored(points, kinds):
    """Whitening, and an anchor for each kind, from the embeddings of known defects."""
    names = np.array(KINDS)[kinds]
    metric = WithinClassWhitening().fit(points, names)
    return metric, place_anchors(metric.transform(points), names, 1, seed=0)


def numbers(names):
    """Kinds by their numbers."""
    return np.array([KINDS.index(name) for name in names], dtype=np.int64)


def renamed(boxes, kinds):
    return Boxes(boxes.pictures, boxes.corners, kinds, boxes.scores)


# What a detector is worth


def worth(detector, train, validation, test):
    """All figures of a detector that was trained on all kinds."""
    chosen_on = find(detector, validation)
    threshold = best_threshold(chosen_on.boxes, validation.defects)
    of_names = best_threshold(chosen_on.named(), validation.defects)
    found, known = find(detector, test), test.defects
    counts = counts_at(found.named(), known, of_names, len(KINDS))
    noticed = counts_at(found.boxes, known, threshold, len(KINDS)).noticed
    precisions = average_precisions(found.by_kind(), known, len(KINDS))
    metric, anchors = anchored(embeddings_of(detector, train), train.defects.kinds)
    by_anchor = numbers(anchors.nearest(metric.transform(found.embeddings)))
    figures = {
        "map": np.nanmean(precisions),
        "threshold": threshold,
        "f": f_score(found.named(), known, of_names),
        "any_kind": noticed.sum() / len(known),
        "false": false_a_board(found.boxes, known, threshold, len(test)),
        "peaks": len(found.boxes) / len(test),
        "map_head": mean_average_precision(found.boxes, known, len(KINDS)),
        "map_anchor": mean_average_precision(renamed(found.boxes, by_anchor), known, len(KINDS)),
        **names_told(found.boxes, known, threshold, by_anchor),
    }
    for kind, name in enumerate(KINDS):
        figures[f"ap_{name}"] = precisions[kind]
        figures[f"precision_{name}"] = counts.precision[kind]
        figures[f"recall_{name}"] = counts.recall[kind]
    seen, clean = np.isin(test.groups, train.groups), test.names != MARKED
    some_rows = {"known_boards": seen & clean, "new_boards": ~seen, "unmarked": clean}
    for words, rows in some_rows.items():
        if rows.any():
            chosen = np.flatnonzero(rows)
            some = test.defects.on(chosen)
            boxes, named = found.by_kind().on(chosen), found.named().on(chosen)
            figures[f"map_{words}"] = mean_average_precision(boxes, some, len(KINDS))
            figures[f"f_{words}"] = f_score(named, some, of_names)
    return finite(figures)


def finite(figures):
    """Figures without those of kinds that are not there."""
    return {name: float(value) for name, value in figures.items() if np.isfinite(value)}


def share(chosen):
    """Share of what is true; not a number among nothing."""
    return np.mean(chosen) if len(chosen) else np.nan


def threshold_of(detector, validation):
    return best_threshold(find(detector, validation).boxes, validation.defects)


def false_a_board(found, known, threshold, boards):
    """Boxes on no known defect, of whatever kind."""
    counted = found[found.scores >= threshold]
    return float((match(counted, known, any_kind=True) < 0).sum() / boards)


def names_told(found, known, threshold, by_anchor):
    """Right names among the defects that are noticed, by the head and by anchors."""
    reached = found.scores >= threshold
    hit = match(found[reached], known, any_kind=True)
    noticed = hit >= 0
    truth = known.kinds[hit[noticed]]
    by_head = found.kinds[reached][noticed] == truth
    by_anchor = by_anchor[reached][noticed] == truth
    return {
        "named_head": share(by_head),
        "named_anchor": share(by_anchor),
        "named_p": mcnemar(by_anchor, by_head).p,
    }


def milliseconds(detector, test):
    """What a pair takes: eight at a time on all threads and on one, and one by one on all."""
    some = test.take(np.arange(min(TIMED, len(test))))
    ones = [test.take([row]) for row in range(len(some))]
    find(detector, some)  # the first call sets memory aside
    figures, threads = {}, torch.get_num_threads()
    cases = {"ms": (threads, [some]), "ms_one_thread": (1, [some]), "ms_alone": (threads, ones)}
    for words, (n, parts) in cases.items():
        torch.set_num_threads(n)
        with threadpool_limits(n):
            seconds, _ = seconds_of(lambda parts: [find(detector, part) for part in parts], parts)
        figures[words] = 1000 * seconds / len(some)
    torch.set_num_threads(threads)
    return figures | {"threads": threads}


def subtracted(test, tolerance):
    """What is left of two pictures, a tolerance forgiven, has no name and no score."""
    seconds, found = seconds_of(subtract, test, tolerance=tolerance, margin=ROOM)
    hits = (match(found, test.defects, any_kind=True) >= 0).sum()
    return {
        "any_kind": float(hits / len(test.defects)),
        "precision": float(hits / max(len(found), 1)),
        "found": len(found) / len(test),
        "false": float((len(found) - hits) / len(test)),
        "ms": 1000 * seconds / len(test),
    }


# A kind that was never trained


def without(boards, kind):
    """Boards on which no defect of a kind is left: the template is painted over each.

    What other defects there are within its box stays.
    """
    tested = boards.tested.copy()
    defects = boards.defects
    for row in np.unique(defects.pictures[defects.kinds == kind]):
        template, pixels = (pictures[0, 0] for pictures in boards.pairs([row]))
        of_board = defects[defects.pictures == row]
        painted = np.zeros(pixels.shape, dtype=bool)
        for painting in (True, False):
            for x1, y1, x2, y2 in of_board.corners[(of_board.kinds == kind) == painting].astype(
                int
            ):
                painted[y1:y2, x1:x2] = painting
        tested[row] = np.packbits(np.where(painted, template, pixels).astype(bool))
    kept = defects[defects.kinds != kind]
    return BoardSet(boards.templates, tested, kept, boards.names, boards.groups, boards.source)


def left_out(kind, looks, seed, train, validation, test):
    """Is a kind found that was never trained, and can five examples name it?

    Its kin is the trained kind whose anchor most of its defects are nearest to before.
    """
    without_it = without(train, kind)
    case = f"left-out-{kind}-{looks}-{seed}"
    detector, seconds = trained(without_it, looks, seed, epochs=LEFT_OUT_EPOCHS, name=case)
    threshold = threshold_of(detector, without(validation, kind))
    found, known = find(detector, test), test.defects
    counts = counts_at(found.boxes, known, threshold, len(KINDS))
    others = np.arange(len(KINDS)) != kind
    figures = {
        "known": counts.known[kind],
        "recall": counts.noticed[kind] / counts.known[kind],
        "recall_others": counts.noticed[others].sum() / counts.known[others].sum(),
        "false": false_a_board(found.boxes, known, threshold, len(test)),
        "train_s": seconds,
    }
    metric, anchors = anchored(embeddings_of(detector, without_it), without_it.defects.kinds)
    examples = metric.transform(
        embeddings_of(detector, validation)[validation.defects.kinds == kind]
    )
    reached = found.boxes.scores >= threshold
    hit = match(found.boxes[reached], known, any_kind=True)
    noticed = np.flatnonzero(reached)[hit >= 0]
    truth = known.kinds[hit[hit >= 0]]
    is_new = truth == kind
    points = metric.transform(found.embeddings)
    before = numbers(anchors.nearest(points))[noticed]
    kin = np.argmax(np.bincount(before[is_new])) if is_new.any() else np.nan
    random, named, kept, mistaken = np.random.default_rng(seed), [], [], []
    for _ in range(DRAWS):
        chosen = random.choice(len(examples), min(EXAMPLES, len(examples)), replace=False)
        more = anchors.with_anchor(KINDS[kind], examples[chosen])
        after = numbers(more.nearest(points))[noticed]
        named.append(share(after[is_new] == kind))
        mistaken.append(share(after[is_new] == kin))
        kept.append(share((after == truth)[~is_new]))
    figures |= {
        "named": np.mean(named),
        "named_sd": np.std(named, ddof=1),
        "named_others": np.mean(kept),
        "named_others_before": share((before == truth)[~is_new]),
        "kin": kin,
        "called_kin": share(before[is_new] == kin),
        "mistaken_for_kin": np.mean(mistaken),
    }
    return finite(figures)


# Pictures that do not lie on their templates


def with_templates(boards, templates):
    """Boards beside other templates."""
    return BoardSet(
        templates, boards.tested, boards.defects, boards.names, boards.groups, boards.source
    )


def moved(boards, pixels):
    """Boards whose templates lie some pixels further to the right and down."""
    templates = []
    for row in range(len(boards)):
        template = boards.pairs([row])[0][0, 0].astype(bool)
        larger = np.pad(template, ((pixels, 0), (pixels, 0)), mode="edge")
        templates.append(np.packbits(larger[: len(template), : len(template)]))
    return with_templates(boards, np.array(templates))


def exchanged(boards, *, same_group, seed=0):
    """Boards beside the template of another pair, of the same board or of another one.

    Those of which there is no other pair are left out.
    """
    random, rows = np.random.default_rng(seed), np.arange(len(boards))
    others = {}
    for row in rows:
        alike = (boards.groups == boards.groups[row]) == same_group
        choice = rows[alike & (rows != row)]
        if len(choice):
            others[row] = random.choice(choice)
    return with_templates(boards.take(list(others)), boards.templates[list(others.values())])


def off_template(detector, validation, test):
    """Figures of a detector on boards that do not lie on their templates."""
    threshold = threshold_of(detector, validation)
    makers = [partial(moved, test, pixels) for pixels in SHIFTS]
    makers += [partial(exchanged, test, same_group=same) for same in (True, False)]
    for case, make in zip(OFF, makers):
        boards = make()
        found, known = find(detector, boards).boxes, boards.defects
        noticed = counts_at(found, known, threshold, len(KINDS)).noticed.sum()
        figures = {
            "map": mean_average_precision(found, known, len(KINDS)),
            "any_kind": float(noticed / len(known)),
            "false": false_a_board(found, known, threshold, len(boards)),
        }
        yield case, figures


def run_seed(record, seed, train, validation, test):
    """Detectors that learn all kinds, and the one with the difference off its template."""
    for looks in LOOKS:
        settings = {"case": looks, "seed": seed}
        moves = looks == "difference" and not record.done({"case": OFF[-1], "seed": seed})
        if record.done(settings) and not moves:
            continue
        name = f"{looks}-{seed}"
        detector, seconds = trained(train, looks, seed, epochs=EPOCHS, name=name)
        if not record.done(settings):
            figures = worth(detector, train, validation, test)
            record.add(settings, figures | {"train_s": seconds})
            print(looks, seed, f"mAP {100 * figures['map']:.2f} %, {seconds:.0f} s", flush=True)
        if moves:
            for case, figures in off_template(detector, validation, test):
                record.add({"case": case, "seed": seed}, figures)


def run_short(record, train, validation, test):
    """What the page trains and measures, so that it can be held to it."""
    some = load_boards("test", size=min(SHORT_TEST, len(test)), seed=0)
    for seed in SHORT_SEEDS:
        settings = {"case": SHORT, "seed": seed}
        if not record.done(settings):
            detector, seconds = trained(train, "difference", seed, epochs=1, name=f"short-{seed}")
            figures = worth(detector, train, validation, some)
            record.add(settings, figures | {"train_s": seconds})


def run_left_out(record, train, validation, test):
    for kind, name in enumerate(KINDS):
        for looks in ("difference", "tested"):
            settings = {"case": f"left out: {name}, {looks}", "seed": SEEDS[0]}
            if not record.done(settings):
                figures = left_out(kind, looks, SEEDS[0], train, validation, test)
                record.add(settings, figures)
                print(settings["case"], f"{100 * figures['recall']:.1f} % found", flush=True)


def run_speed(record, train, test):
    """Last, so that nothing else runs beside it: what a pair takes, by what the head is given."""
    for looks in LOOKS:
        settings = {"case": f"speed: {looks}", "seed": SEEDS[0]}
        if not record.done(settings):
            name = f"{looks}-{SEEDS[0]}"
            detector, _ = trained(train, looks, SEEDS[0], epochs=EPOCHS, name=name)
            record.add(settings, milliseconds(detector, test))


def main():
    train, validation, test = (load_boards(split, size=size) for split, size in BOARDS.items())
    record = begin(__file__, test.source)
    for tolerance in TOLERANCES:
        settings = {"case": f"subtracted, tolerance {tolerance}", "seed": SEEDS[0]}
        if not record.done(settings):
            record.add(settings, subtracted(test, tolerance))
    run_short(record, train, validation, test)
    for seed in SEEDS:
        run_seed(record, seed, train, validation, test)
        run_left_out(record, train, validation, test)
    run_speed(record, train, test)
    show(record)
    print(json.dumps(record.means(("map", "f", "any_kind", "false", "recall", "ms"))))


if __name__ == "__main__":
    main()
