"""What bench.consensus is made of: its options, its rounds, its theory, its table."""
