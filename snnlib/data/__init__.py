"""Image sets by name: from a local mirror, the Hugging Face Hub, or drawn on the spot."""

from snnlib.data.loading import load

__all__ = ["load"]
