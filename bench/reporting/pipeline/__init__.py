"""Report of bench.pipeline --measure."""
