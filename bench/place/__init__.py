"""Placement of shards on the positions of a topology, by stochastic local search."""
