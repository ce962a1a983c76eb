"""Inspection of connector terminals: from three camera images to a map of 36 × 39 metrics.

`failure_modes` reads and writes codes, `simulator` makes parts and photographs them, `rt` holds the
RT method, `soart` the map, `dataset` the sets, and `loading` finds them. `ruler` measures without a
map. `networks` and `faces` are networks for maps and pictures of them, and `connector` the station.

A reconstruction from a public summary and a textbook: the transform behind the published data sets
was never published.
"""
