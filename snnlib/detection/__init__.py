"""Defects found by boxes: a detector, what it learns from, what it finds, what that is worth."""
