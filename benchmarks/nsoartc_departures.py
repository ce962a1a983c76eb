"""What each departure from the public summary of the inspection machine does to the maps.

    python benchmarks/nsoartc_departures.py

The same images of the simulated cell are turned into maps in several ways: as `snnlib` does, and
with one departure taken back at a time. Two classifiers learn from the training parts, scaled, and
score on the validation parts; the test set is not touched. No randomness beyond the named sets.
"""

import copy
import json

import numpy as np
from recording import begin, show
from scipy.ndimage import uniform_filter
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from snnlib.nsoartc.dataset import PLANS, modes_of, unit_space
from snnlib.nsoartc.simulator import draw_parts, photograph
from snnlib.nsoartc.soart import FIELD, WINDOW


def of_one_camera():
    """All cameras compared with the mean good image of the centre camera."""
    soart = copy.deepcopy(unit_space())
    soart.mean_[:] = soart.mean_[1]
    soart.responses_[:] = soart.responses_[:, 1:2]
    soart.dividers_[:] = soart.dividers_[:, 1:2]
    return soart


def of_datum():
    """Responses compared with those of a part named DATUM to the mean good image: its mean."""
    soart = copy.deepcopy(unit_space())
    datum = uniform_filter(soart.mean_, (0, FIELD, FIELD), mode="nearest")
    soart.responses_[:] = datum
    windows = (datum**2).reshape(3, 3, WINDOW, 13, WINDOW)
    soart.dividers_[:] = windows.sum(axis=(2, 4))
    soart.mean_[:] = 0  # the responses themselves, not their deviations
    return soart


def three_eyes(metrics):
    left, centre, right = np.moveaxis(metrics, 1, 0)
    return np.stack([left - centre, right - centre, centre], axis=1)


def one_difference(metrics):
    return metrics[:, 2] - metrics[:, 0]


def with_sn_ratio(metrics):
    """η = 1 / Y₂² in place of Y₂, which stands second in every pair."""
    changed = metrics.copy()
    changed[..., 1::2] = 1 / np.maximum(metrics[..., 1::2], 1e-6) ** 2
    return three_eyes(changed)


CASES = {
    "as built": (unit_space, three_eyes),
    "the centre camera's reference for all": (of_one_camera, three_eyes),
    "DATUM as reference": (of_datum, three_eyes),
    "one difference, right − left": (unit_space, one_difference),
    "the SN ratio for Y₂": (unit_space, with_sn_ratio),
}
MACHINES = {
    "nearest_centroid": NearestCentroid(),
    "linear_svm": SVC(kernel="linear", C=0.01),
}


def maps_of(split):
    """Maps of one set in each way: (n, values) by case."""
    plan = PLANS[split]
    soarts = {case: make() for case, (make, _) in CASES.items()}
    rows = {case: [] for case in CASES}
    for images in photograph(draw_parts(plan.modes, seed=plan.seed), seed=plan.seed):
        for case, (_, eyes) in CASES.items():
            rows[case].append(eyes(soarts[case].metrics(images)).reshape(len(images), -1))
    return {case: np.concatenate(parts) for case, parts in rows.items()}


def main():
    record = begin(__file__, "nsoartc, simulated cell")
    train, validation = maps_of("train"), maps_of("validation")
    names, truth = modes_of("train"), modes_of("validation")
    for case in CASES:
        scaler = StandardScaler().fit(train[case][names == "OK"])
        X, X_validation = scaler.transform(train[case]), scaler.transform(validation[case])
        scores = {
            name: float(machine.fit(X, names).score(X_validation, truth))
            for name, machine in MACHINES.items()
        }
        record.add({"case": case, "seed": PLANS["train"].seed}, scores)
    show(record)
    print(json.dumps(record.means(MACHINES)))


if __name__ == "__main__":
    main()
