"""Report of bench.chaos: useful steps and time, recovery and final metric of each strategy."""
