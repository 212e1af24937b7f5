"""Crowding, as functions of numpy: families, matching by distance, and rules of replacement."""
