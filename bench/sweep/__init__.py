"""What bench.sweep is made of."""
