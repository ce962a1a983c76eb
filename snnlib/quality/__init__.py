"""What a quality engineer reckons with: `costs` of a decision, and `control_charts` of a line.

This room knows nothing of networks.
"""
