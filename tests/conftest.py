"""What all tests share: an absolute mirror path, and a small set of images."""

import os
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import settings
from small_book import SmallBook

from snnlib.images import ImageSet

# Tests compare networks with plain loops, which run on the processor; so networks run there, too,
# whatever else a machine has. SNNLIB_TEST_DEVICE=cuda leaves them a GPU, to see what it does.
# Set before PyTorch is loaded, which looks once.
if os.environ.get("SNNLIB_TEST_DEVICE") != "cuda":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("SNNLIB_CACHE", str(ROOT / "_build" / "arrays"))  # not the user's own

matplotlib.use("Agg")
settings.register_profile("repository", deadline=None, derandomize=True)
settings.load_profile("repository")

if os.environ.get("SNNLIB_DATA"):
    mirror = Path(os.environ["SNNLIB_DATA"]).absolute()
    if not mirror.is_dir():
        raise NotADirectoryError(f"SNNLIB_DATA must name a folder, got {str(mirror)!r}")
    os.environ["SNNLIB_DATA"] = str(mirror)  # kernels run in another folder


@pytest.fixture(scope="session", autouse=True)
def without_mps():
    """Hide the GPU of a Mac, for which PyTorch has no environment variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.backends.mps.is_available", lambda: False)
        yield


@pytest.fixture
def blobs():
    """Three classes of 4 × 4 images, told apart by their brightness."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    images = rng.normal(labels[:, None, None, None] / 2, 0.1, (120, 1, 4, 4))
    return ImageSet(images.astype(np.float32), labels, ("low", "mid", "high"), "blobs")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the checkout as it is now, committed or not, without what git ignores."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listing, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            target = tmp_path / "checkout" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return tmp_path / "checkout"


@pytest.fixture
def small_book(tmp_path):
    """A folder for a book of a page or three."""
    (tmp_path / "book").mkdir()
    return SmallBook(tmp_path / "book")
