"""What bench.watch is made of."""
