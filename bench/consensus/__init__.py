"""Measurement of gossip: options, rounds, theory and output."""
