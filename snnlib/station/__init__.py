"""From parts to verdicts: the station, what it is made of, and small hardware."""
