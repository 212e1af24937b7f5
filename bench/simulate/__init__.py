"""Simulation of steps under the model clock: options, steps and output."""
