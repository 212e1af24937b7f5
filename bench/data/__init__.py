"""Readers of the files that `--data` names."""
