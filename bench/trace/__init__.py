"""Timelines of result files in the Trace Event Format."""
