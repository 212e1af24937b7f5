"""The Exchange over MPI: means of all workers, rounds between neighbours, injected faults."""
