"""Report of bench.simulate: step time and efficiency against the number of workers."""
