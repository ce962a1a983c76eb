"""Image sets by name: from a local mirror, the Hub, or made on the spot."""

from snnlib.data.loading import load

__all__ = ["load"]
