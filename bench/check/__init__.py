"""Contract checks of an algorithm, topology, partition, task or controller: `bench.check`."""
