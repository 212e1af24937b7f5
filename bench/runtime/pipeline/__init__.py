"""Pipelines in training: ranks in a grid, and the passes of stages over MPI."""
