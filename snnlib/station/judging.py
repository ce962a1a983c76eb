"""Judge parts by the ONNX file of a station: with ONNX Runtime, NumPy and Pillow, and little else.

Neither PyTorch nor scikit-learn is loaded, so that the first verdict comes in less than a second.
"""

import base64
import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlib.extras import extra
from snnlib.station.arrays import OUT_OF_RANGE, Arrays
from snnlib.station.checks import Checks
from snnlib.station.looking import Source, prepared_batches
from snnlib.station.parts import Parts, as_parts
from snnlib.station.preparation import Preparation, in_16_bits
from snnlib.station.verdict import INVALID, Verdict

if TYPE_CHECKING:
    from snnlib.station.rule import Rule

    with extra("station"):
        import onnxruntime

__all__ = ["FORMAT", "METADATA", "PARTS", "Judge", "load_judge", "sealed"]

#: Number of the format of a station's ONNX file. What has a higher one is refused.
FORMAT = 1
#: Key of the file's metadata under which all that is told about the station stands, as JSON.
METADATA = "snnlib"
#: Name of the input, which takes prepared parts.
PARTS = "parts"
# The checksum is one of the file with zeros in its place, and comes first in the metadata.
SEAL = re.compile(rb'"checksum": "([0-9a-f]{64})"')


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges as the station does that was written; on one processor core.

    Attributes
    ----------
    session : onnxruntime.InferenceSession
        The graph.
    told : dict
        What its metadata say: what the properties give, and ``checks``.
    """

    session: "onnxruntime.InferenceSession"
    told: dict[str, Any]

    @property
    def good(self) -> str:
        """Name of the class of good parts."""
        return self.told["good"]

    @property
    def classes(self) -> list[str]:
        """Names of all classes that it knows, sorted."""
        return self.told["classes"]

    @property
    def rule(self) -> "Rule":
        """What passes, and how its limit was set."""
        from snnlib.station.rule import Rule  # it loads SciPy, for which a verdict would wait

        return Rule(**self.told["rule"])

    @property
    def limit(self) -> float:
        """Largest score that passes."""
        return self.told["rule"]["limit"]

    @property
    def made(self) -> dict[str, Any]:
        """Of what parts the station was made and by what code, and when."""
        return self.told["made"]

    @property
    def made_from(self) -> np.ndarray:
        """Marks of all these parts, shape (n,), uint64, as `snnlib.station.provenance` has them."""
        return np.frombuffer(base64.b64decode(self.told["made_from"]), dtype="<u8")

    @property
    def doubts(self) -> tuple[str, ...]:
        """What about the parts deserved doubt when the station was made."""
        return tuple(self.told["doubts"])

    @property
    def whole_numbers(self) -> bool:
        """Whether its features are in 8-bit whole numbers."""
        return self.told["whole_numbers"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width of a prepared part."""
        return tuple(self.session.get_inputs()[0].shape[1:])

    @property
    def preparation(self) -> Preparation | Arrays:
        """How a part becomes what the graph takes."""
        settings = dict(self.told["preparation"])
        if "largest" in settings:
            return Arrays(self.shape, settings["largest"])
        for name in ("size", "crop"):
            settings[name] = settings[name] and tuple(settings[name])
        return Preparation(**settings)

    def judge(self, source: Source, progress: bool = False) -> list[dict[str, Any]]:
        """Judge many parts, one after the other.

        Parameters
        ----------
        source, progress
            As for `snnlib.station.station.Station.judge`.

        Returns
        -------
        list of dict
            For each part what a row of the station's table holds.

        Raises
        ------
        TypeError, ValueError
            As there.
        """
        if not isinstance(source, np.ndarray) and isinstance(self.preparation, Preparation):
            source = as_parts(source)
        words, rows = "judging" if progress else None, {}
        for batch in prepared_batches(source, self.preparation, self.shape, words):
            for position, why in batch.faults.items():
                rows[position] = self._row(None, why)
            for k, position in enumerate(batch.positions.tolist()):
                rows[position] = self._row(*self._seen(batch, k))
        in_order = [rows[position] for position in sorted(rows)]
        if isinstance(source, Parts):
            return [{"file": str(file)} | row for file, row in zip(source.files, in_order)]
        return in_order

    def explain(self, part: str | Path | np.ndarray) -> Verdict:
        """Judge one part, and find what speaks most against it.

        Parameters
        ----------
        part : path or ndarray
            A file, a frame (h, w) or (h, w, 3), or a part (c, h, w).

        Returns
        -------
        Verdict

        Raises
        ------
        TypeError, ValueError
            As `judge`; if a file can't be read.
        """
        alone = part[None] if isinstance(part, np.ndarray) else [part]
        (batch,) = prepared_batches(alone, self.preparation, self.shape)
        if batch.faults:
            raise ValueError(batch.faults[0])
        found, why = self._seen(batch, 0)
        heat = None if found is None or why or "heat" not in found else found["heat"][0]
        row = self._row(found, why)
        return Verdict.of(row, self.good, self.limit, seen=batch.images[0], heat=heat)

    def _seen(self, batch, k):
        """What the graph says of one part of a batch, and why it is not judged."""
        part = batch.photographs[k].pixels if batch.photographs else batch.images[k]
        taken = self.session.get_inputs()[0].type
        if taken == "tensor(uint16)":
            part = in_16_bits(part)
        elif part.dtype == np.uint16:
            return None, "it has 16 bits, and the station was made from photographs of 8"
        begun = time.perf_counter()
        values = self.session.run(None, {PARTS: part[None]})
        names = [end.name for end in self.session.get_outputs()]
        found = dict(zip(names, values)) | {"ms": 1000 * (time.perf_counter() - begun)}
        if found["verdict"][0] != INVALID:
            return found, ""
        if self.told["checks"] is None:
            return found, OUT_OF_RANGE
        low, high = map(np.array, self.told["checks"])
        return found, Checks(low, high).fault(found["measured"][0])

    def _row(self, found, why):
        classes = self.classes
        if why:  # not judged
            found = {"verdict": [INVALID], "score": [np.nan], "ms": np.nan}
            to_each, names = np.full(len(classes) + 1, np.nan), [""] * (len(classes) + 1)
        else:
            to_each, names = np.append(found["distances"][0], np.nan), [*classes, ""]
        first, second = np.argsort(to_each, kind="stable")[:2]  # NaN comes last
        row = {
            "verdict": str(found["verdict"][0]),
            "score": float(found["score"][0]),
            "nearest": names[first],
            "distance": float(to_each[first]),
            "second": names[second],
            "second_distance": float(to_each[second]),
            "to_good": float(to_each[classes.index(self.good)]),
        }
        if self.told["rule"]["strange_scale"] is not None:
            row["strangest"] = float(found.get("strangest", [np.nan])[0])
        return row | {"ms": found["ms"], "why": why}


def _started(model):
    """The graph on one processor core; other parts of a line want the others."""
    with extra("station"):
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def sealed(content: bytes) -> bytes:
    """Put a checksum into what is to be a file.

    Parameters
    ----------
    content : bytes
        A graph whose metadata begin with a ``checksum`` of 64 zeros.

    Returns
    -------
    bytes
        The same with the checksum in their place, which is one of the `content`.

    Raises
    ------
    ValueError
        If there is no place for it.
    """
    found = SEAL.search(content)
    if found is None:
        raise ValueError("the metadata have no place for a checksum")
    return content[: found.start(1)] + _checksum(content, found) + content[found.end(1) :]


def _checksum(content, found):
    """SHA-256 of a file with zeros in the place of its checksum, in hexadecimal."""
    digest = hashlib.sha256(content[: found.start(1)])
    digest.update(b"0" * 64)
    digest.update(content[found.end(1) :])
    return digest.hexdigest().encode()


def load_judge(file: str | Path) -> Judge:
    """Take a station from its ONNX file.

    Parameters
    ----------
    file : path
        Written by `snnlib.station.exporting.export_station`.

    Returns
    -------
    Judge

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it can't be read, holds no station, comes from a newer version, or a single bit of it has
        changed.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"no station in {file}")
    content = Path(file).read_bytes()
    found = SEAL.search(content)
    if found is None:
        raise ValueError(f"{file} is no ONNX file of a station, or a damaged one")
    if found[1] != _checksum(content, found):
        raise ValueError(f"{file} is damaged: it is not what was written")
    session = _started(content)
    told = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    if told["format"] != FORMAT:
        raise ValueError(
            f"{file} was written by {told['library']} in format {told['format']}, this version of "
            f"snnlib reads format {FORMAT}: install one that is at least as new"
        )
    return Judge(session, told)
