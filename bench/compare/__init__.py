"""Comparison of two sides: their launches, cases, effects and verdicts."""
