"""Making triplets and training an epoch on them: the source post's loops against index arrays.

    python benchmarks/triplets.py

The post builds its 30 000 triplets by appending to arrays in a loop, then flattens them in a second
loop of the same kind. Both would take too long at full size, so they are measured at small ones; a
curve a·n + b·n² is fitted (a call's fixed cost and the copy of all that went before), and the time
at 30 000 is extrapolated from it. Against them stand index arrays and the images of every batch,
gathered in turn. Each variant's memory is measured in a process of its own. The Keras epochs take
turns in one process; between the source's and ours stand variants that differ in one thing. Needs
Linux, whose kernel can reset the peak of a process's memory.
"""

import json
import multiprocessing

import numpy as np
from measuring import forget_peak, memory, seconds_of
from recording import begin, show
from scipy.optimize import nnls

from snnlib.data import load
from snnlib.sampling import TripletDataset, draw_triplets

N, BATCH, RATE, MARGIN, SEED = 30_000, 32, 3e-5, 0.4, 0
STEPS = 16  # that Keras takes before it goes back to Python
# Larger than those at which an array and its copy still fit into the cache.
LOOP_SIZES = {"appending": (5000, 6500, 8500, 11000), "flattening": (1500, 2100, 3000, 4200)}
EPOCH_TURNS = 15


def append_triplets(images, labels, n, seed):
    """The source's first loop: draw a triplet at a time, append its images to three arrays."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == k) for k in range(10)]
    others = [np.flatnonzero(labels != k) for k in range(10)]
    three = [np.empty((0, 28, 28), np.uint8) for _ in range(3)]
    for i in range(n):
        k = i % 10
        chosen = rng.choice(members[k]), rng.choice(members[k]), rng.choice(others[k])
        three = [np.append(a, images[j][None], axis=0) for a, j in zip(three, chosen)]
    return three


def flatten_triplets(three, n):
    """The source's second loop: append every image as a row of 784 double-precision numbers."""
    flat = [np.empty((0, 784)) for _ in range(3)]
    for i in range(n):
        flat = [np.append(f, a[i].reshape(1, 784) / 255, axis=0) for f, a in zip(flat, three)]
    return flat


def index_triplets(image_set, n, seed):
    """Index arrays, and the images of all batches, one after the other; the last batch."""
    data = TripletDataset(image_set, n, seed=seed)
    for start in range(0, n, BATCH):
        batch = data.batch(range(start, min(start + BATCH, n)))
    return batch


def fitted(sizes, seconds):
    """Exponent of a power law through the points, and seconds at N by the curve a·n + b·n²."""
    exponent, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    n, seconds = np.array(sizes, dtype=float), np.array(seconds)
    # Relative errors count alike at all sizes; neither cost can be negative.
    (linear, square), _ = nnls(np.stack([n, n**2], axis=1) / seconds[:, None], np.ones(len(n)))
    return {
        "sizes": list(sizes),
        "seconds": seconds.tolist(),
        "exponent": float(exponent),
        "seconds_extrapolated": float(linear * N + square * N**2),
    }


def loops(images, image_set):
    """Seconds of both loops at their sizes, and what the curves fitted to them say of N."""
    three = append_triplets(images, image_set.labels, max(LOOP_SIZES["flattening"]), SEED)
    calls = {
        "appending": lambda n: append_triplets(images, image_set.labels, n, SEED),
        "flattening": lambda n: flatten_triplets(three, n),
    }
    return {
        name: fitted(sizes, [seconds_of(calls[name], n)[0] for n in sizes])
        for name, sizes in LOOP_SIZES.items()
    }


def flatten_at_once(three):
    """What the loop's last append holds, arrays and copies; no need to run it for hours."""
    return [np.append(a[:-1].reshape(-1, 784) / 255, a[-1:].reshape(1, 784), 0) for a in three]


def child(variant, pipe):
    """Peak of memory above what the loaded images take, while triplets are made or trained on."""
    train = load("fashion_mnist", "train")
    index_triplets(train, BATCH, SEED)  # PyTorch's own start-up
    if variant == "source procedure":
        images = np.rint(255 * train.images[:, 0]).astype(np.uint8)
        three = [images[k] for k in draw_triplets(train.labels, N, seed=SEED).T]
    if variant == "snnlib, in Keras":
        from snnlib.keras_triplets import TripletBatches

        model = our_model()
        few = TripletDataset(train, 16 * BATCH, seed=SEED)
        model.fit(TripletBatches(few, BATCH), verbose=0)  # TensorFlow's own start-up
    forget_peak()
    before = memory("VmRSS")
    if variant == "source procedure":
        held = flatten_at_once(three)
    elif variant == "snnlib":
        held = index_triplets(train, N, SEED)
    else:
        held = TripletBatches(TripletDataset(train, N, seed=SEED), BATCH)
        model.fit(held, verbose=0)
    pipe.send({"rise": memory("VmHWM") - before, "images": train.images.nbytes / 2**20})
    del held


def memory_rise(variant):
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    process = context.Process(target=child, args=(variant, end))
    process.start()
    end.close()  # so that a child that dies is noticed, and not waited for
    figures = pipe.recv()
    process.join()
    return figures


def source_model(seed=SEED, steps=1):
    """The post's model: three calls of the encoder, their outputs side by side, no labels read.

    Also its encoder.
    """
    from snnlib.keras_triplets import keras, mlp, ops

    encoder = mlp(784, 512, 256, 128, seed=seed)
    inputs = [keras.Input((784,)) for _ in range(3)]
    model = keras.Model(inputs, ops.concatenate([encoder(x) for x in inputs], axis=1))

    def loss(_, outputs):
        a, p, n = (ops.normalize(z, axis=-1) for z in ops.split(outputs, 3, axis=-1))
        return ops.maximum(ops.sum(a * n, axis=-1) - ops.sum(a * p, axis=-1) + MARGIN, 0.0)

    model.compile(keras.optimizers.Adam(RATE), loss, steps_per_execution=steps)
    return model, encoder


def our_model(steps=STEPS):
    from snnlib.keras_triplets import CosineTripletLoss, TripletModel, keras, mlp

    model = TripletModel(mlp(784, 512, 256, 128, seed=SEED))
    model.compile(keras.optimizers.Adam(RATE), CosineTripletLoss(MARGIN), steps_per_execution=steps)
    return model


def epochs(image_set):
    """Seconds of Keras epochs in turns, after one that is not counted."""
    from snnlib.keras_triplets import TripletBatches

    triplets = draw_triplets(image_set.labels, N, seed=SEED)
    flat = image_set.images.reshape(len(image_set), -1)
    arrays, dummies = [flat[column] for column in triplets.T], np.zeros(N, np.float32)
    batches = TripletBatches(TripletDataset(image_set, N, seed=SEED, fresh=False), BATCH)
    source, source_in_steps = (source_model(steps=steps)[0] for steps in (1, STEPS))
    by_one, ours = (our_model(steps) for steps in (1, STEPS))
    calls = {
        "source procedure": lambda: source.fit(arrays, dummies, batch_size=BATCH, verbose=0),
        "source procedure, 16 steps at once": lambda: source_in_steps.fit(
            arrays, dummies, batch_size=BATCH, verbose=0
        ),
        "snnlib, a step at a time": lambda: by_one.fit(batches, verbose=0),
        "snnlib": lambda: ours.fit(batches, verbose=0),
    }
    seconds = {name: [] for name in calls}
    for turn in range(EPOCH_TURNS + 1):
        for name, call in calls.items():
            spent, _ = seconds_of(call)
            if turn:
                seconds[name].append(spent)
    return seconds


def main():
    train = load("fashion_mnist", "train")
    images = np.rint(255 * train.images[:, 0]).astype(np.uint8)
    record = begin(__file__, train.source, "tensorflow", "keras")
    index_triplets(train, N, SEED)
    ours = float(np.median([seconds_of(index_triplets, train, N, SEED)[0] for _ in range(7)]))
    laws = loops(images, train)
    source = sum(law["seconds_extrapolated"] for law in laws.values())
    turns = epochs(train)
    rises = {name: memory_rise(name) for name in ("source procedure", "snnlib", "snnlib, in Keras")}
    for case, spent in turns.items():
        figures = {"epoch_s": float(np.median(spent))}
        figures |= {"epoch_s_min": min(spent), "epoch_s_max": max(spent)}
        if case in rises:
            figures["make_s"] = {"source procedure": source, "snnlib": ours}[case]
            figures["memory_rise_mib"] = rises[case]["rise"]
        record.add({"case": case, "seed": SEED, "triplets": N, "batch": BATCH}, figures)
    ratios = np.array(turns["source procedure"]) / np.array(turns["snnlib"])
    figures = {
        "make_ratio": source / ours,
        "epoch_ratio": float(np.median(ratios)),
        "epoch_ratio_min": float(ratios.min()),
        **{
            f"{key}_ratio": float(np.median(np.array(turns[slower]) / np.array(turns[faster])))
            for key, slower, faster in (
                ("source_steps", "source procedure", "source procedure, 16 steps at once"),
                ("our_steps", "snnlib, a step at a time", "snnlib"),
                ("indices", "source procedure, 16 steps at once", "snnlib"),
            )
        },
        "images_mib": rises["snnlib"]["images"],
        "keras_memory_rise_mib": rises["snnlib, in Keras"]["rise"],
        **laws,
    }
    record.note(figures)
    show(record)
    print("The source's seconds to make triplets are extrapolated from the fitted curves.")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
