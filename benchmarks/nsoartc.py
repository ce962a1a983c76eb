"""From camera images to maps: milliseconds a part on one core, and memory.

    python benchmarks/nsoartc.py

Three ways make the same maps: `snnlib`, a NumPy loop over parts, cameras, pins and kernels, and
SciPy's correlation of whole images. That they agree is checked first. They take turns on one core,
five rounds each; a ratio is the median over the rounds, so that the moods of the machine meet all
three. Memory is the kernel's account of a process that maps 1 000 and 10 000 parts, which arrive a
few at a time, beyond the maps themselves; and of one that simulates them as well.
"""

import json
import multiprocessing
import os

import numpy as np
from measuring import forget_peak, memory, seconds_of
from recording import begin
from scipy.ndimage import correlate
from threadpoolctl import threadpool_limits

from snnlib.nsoartc.dataset import simulate, unit_space
from snnlib.nsoartc.rt import metrics_of_sums
from snnlib.nsoartc.simulator import draw_parts, photograph
from snnlib.nsoartc.soart import COLUMNS, KERNELS, MAP_SHAPE, METRICS, ROWS, WINDOW, Soart

ROUNDS, SEED = 5, 0
PARTS = {"snnlib": 200, "scipy": 20, "numpy": 4}  # parts a round
SIZES = (1_000, 10_000)
PUBLISHED_SECONDS = 5  # a part on a Raspberry Pi 4 class computer, in Julia


def rt(x, reference):
    """β and Y₂ by the textbook, from d = x - x̄."""
    d = (x - reference).ravel()
    reference = reference.ravel()
    return metrics_of_sums(d @ reference, d @ d, reference @ reference, d.size)


def correlated_window(padded, kernel, row, column):
    """One pin's window of an image correlated with one kernel."""
    top, left = row * WINDOW, column * WINDOW
    response = np.zeros((WINDOW, WINDOW), dtype=np.float32)
    for (y, x), weight in np.ndenumerate(kernel):
        response += weight * padded[top + y : top + y + WINDOW, left + x : left + x + WINDOW]
    return response


def lay_out(metrics):
    """(camera, row, column, metric) → the flat map of one part."""
    left, centre, right = metrics
    eyes = np.stack([left - centre, right - centre, centre], axis=-1)
    return eyes.transpose(0, 2, 1, 3).ravel()


def by_numpy_loop(soart, images):
    maps = []
    edge = KERNELS.shape[1] // 2
    for image in images:
        metrics = np.empty((3, ROWS, COLUMNS, len(METRICS)), dtype=np.float32)
        for camera in range(3):
            padded = np.pad(image[camera], edge, mode="edge")
            for row, column in np.ndindex(ROWS, COLUMNS):
                cut = np.s_[
                    row * WINDOW : (row + 1) * WINDOW, column * WINDOW : (column + 1) * WINDOW
                ]
                for part, kernel in enumerate(KERNELS):
                    x = correlated_window(padded, kernel, row, column)
                    pair = rt(x, soart.responses_[part, camera][cut])
                    metrics[camera, row, column, 2 * part : 2 * part + 2] = pair
        maps.append(lay_out(metrics))
    return np.stack(maps)


def by_scipy(soart, images):
    """Each image correlated as a whole, then all its windows at once."""
    maps = []
    windows = (3, ROWS, WINDOW, COLUMNS, WINDOW)
    for image in images:
        metrics = np.empty((3, ROWS, COLUMNS, len(METRICS)), dtype=np.float32)
        for part, kernel in enumerate(KERNELS):
            x = correlate(image, kernel[None], mode="nearest").reshape(windows)
            reference = soart.responses_[part].reshape(windows)
            d = x - reference
            cross, square = (d * reference).sum(axis=(2, 4)), (d * d).sum(axis=(2, 4))
            pair = metrics_of_sums(cross, square, soart.dividers_[part], WINDOW**2)
            metrics[..., 2 * part], metrics[..., 2 * part + 1] = pair
        maps.append(lay_out(metrics))
    return np.stack(maps)


WAYS = {"snnlib": Soart.transform, "scipy": by_scipy, "numpy": by_numpy_loop}


def race(record):
    soart = unit_space()
    modes = ["OK", "31D05", "61X10", "92Y10"] * (PARTS["snnlib"] // 4)
    images = np.concatenate(list(photograph(draw_parts(modes, seed=SEED), seed=SEED)))
    expected = by_numpy_loop(soart, images[:4])
    for way in WAYS.values():
        np.testing.assert_allclose(way(soart, images[:4]), expected, atol=1e-5)
    ms = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, function in WAYS.items():
            seconds, _ = seconds_of(function, soart, images[: PARTS[way]])
            ms[way].append(1000 * seconds / PARTS[way])
    for way in WAYS:
        ratios = np.array(ms[way]) / ms["snnlib"]
        record.add(
            {"case": way, "seed": SEED},
            {
                "ms": float(np.median(ms[way])),
                "ms_least": min(ms[way]),
                "ms_most": max(ms[way]),
                "ratio": float(np.median(ratios)),
                "ratio_least": float(ratios.min()),
            },
        )


def map_arriving_parts(n):
    """Peak of memory while n parts are mapped that arrive 50 at a time, beyond the maps, MiB."""
    soart = unit_space()
    (images,) = photograph(draw_parts(["OK"] * 50, seed=SEED), seed=SEED)
    maps = np.zeros((n, MAP_SHAPE[0] * MAP_SHAPE[1]), dtype=np.float32)
    maps += 1  # so that the kernel has given all of it
    before = memory("VmRSS")
    forget_peak()
    for start in range(0, n, len(images)):
        maps[start : start + len(images)] = soart.transform(images)
    return memory("VmHWM") - before


def simulate_parts(n):
    """The same for a simulation from failure modes to maps."""
    unit_space()
    simulate(50, ("OK",), part_seed=SEED, shot_seed=SEED)
    before = memory("VmRSS")
    forget_peak()
    maps = simulate(n, ("OK",), part_seed=SEED, shot_seed=SEED)
    return memory("VmHWM") - before - maps.images.nbytes / 2**20


def peaks(function):
    """Peak of each size, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for n in SIZES:
        with context.Pool(1) as pool:
            found[n] = pool.apply(function, (n,))
    return found


def main():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    record = begin(__file__, "nsoartc, simulated cell", "scipy")
    with threadpool_limits(1):
        race(record)
    for name, function in [("map", map_arriving_parts), ("simulate", simulate_parts)]:
        record.note({f"{name}_{n}_mib": peak for n, peak in peaks(function).items()})
    table = record.table().set_index("case")
    record.note({"published_seconds": PUBLISHED_SECONDS})
    print(table.round(3).to_string())
    figures = {
        "ms": table.loc["snnlib", "ms"],
        "numpy_ratio": table.loc["numpy", "ratio"],
        "scipy_ratio": table.loc["scipy", "ratio"],
        **record.notes(),
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
