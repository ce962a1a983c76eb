"""Inspection of connector terminals: from three camera images to a map of 36 × 39 metrics.

`failure_modes` reads and writes codes, `simulator` makes parts and photographs them, `rt` holds the
RT method, `soart` the map, and `dataset` the sets. This room knows nothing of networks.

A reconstruction from a public summary and a textbook: the transform behind the published data sets
was never published.
"""
