"""What a quality engineer reckons with.

Shares of `lots`, `agreement` of inspectors, `detection` by amount, plans of `acceptance`, `costs`
of a decision, and `control_charts` of a line.

This room knows nothing of networks.
"""
