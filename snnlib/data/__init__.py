"""Image sets: by name, from a local mirror, the Hub, or made on the spot; or from a folder."""

from snnlib.data.folders import load_folder
from snnlib.data.loading import load

__all__ = ["load", "load_folder"]
