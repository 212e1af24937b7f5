"""Checkpoints of a training: written completely or not at all, checked before they are read."""
