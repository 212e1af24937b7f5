"""Contract checks of an algorithm, topology, partition or task: `bench.check`."""
