"""Measurement of all-reduces: options, candidates, timing and output."""
