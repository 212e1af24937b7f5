"""What bench.collectives runs on: its options, links, candidates, timing, and rows."""
