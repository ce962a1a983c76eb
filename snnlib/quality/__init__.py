"""What a quality engineer reckons with: shares of `lots`, `costs` of a decision, `control_charts`.

This room knows nothing of networks.
"""
