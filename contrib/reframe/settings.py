"""Systems for ReFrame: this machine, and Slurm clusters by the example of slurm/devcluster."""

site_configuration = {
    "systems": [
        {
            "name": "here",
            "descr": "this machine, by mpirun",
            "hostnames": [".*"],
            "prefix": "runs/reframe",
            "partitions": [
                {
                    "name": "mpirun",
                    "scheduler": "local",
                    "launcher": "mpirun",
                    "environs": ["default"],
                    "max_jobs": 1,  # two at a time would measure each other
                },
            ],
        },
        {
            "name": "devcluster",
            "descr": "a Slurm: --system=devcluster",
            "hostnames": ["^$"],  # none: it shares a machine with the system above
            "prefix": "runs/reframe",
            "partitions": [
                {
                    "name": "all",
                    # `slurm` asks sacct about jobs, where there is accounting.
                    "scheduler": "squeue",
                    "launcher": "srun",
                    "environs": ["default"],
                    "access": ["--partition=all", "--exclusive"],
                    # Open MPI speaks PMIx; srun's own default may be another one.
                    "env_vars": [["SLURM_MPI_TYPE", "pmix"]],
                    "max_jobs": 1,  # more share the network, and here the cores, too
                },
            ],
        },
    ],
    "environments": [{"name": "default", "features": ["mpi"]}],
}
