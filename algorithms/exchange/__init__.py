"""The Exchange over MPI: means of all workers, rounds between neighbours, faults on purpose."""
