"""From one small file to many jobs: sweeps on a cluster, or on this machine by mpirun."""

import bench  # noqa: F401  # Ctrl-C while a program loads its modules ends it quietly
