"""Transport of rows: schedules, the carrier that executes them over MPI, sums and meters."""
