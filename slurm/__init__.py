"""From one small file to many jobs: sweeps on a cluster, or on this machine by mpirun."""
