"""A thin library for metric learning in visual inspection.

Data flows one way through its rooms::

    images → sampling → encoder → loss → training → embedding → anchors → verdict

Enter the room that holds what you need, for example ``from snnlib.losses import contrastive``.
``import snnlib`` alone loads no room, so neither PyTorch nor Matplotlib starts before it is used.
"""

__version__ = "0.1.0"
