"""Systems of ReFrame: this machine, and slurm/devcluster as the example of a cluster."""

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
                    "max_jobs": 1,  # concurrent jobs would disturb each other
                },
            ],
        },
        {
            "name": "devcluster",
            "descr": "a Slurm: --system=devcluster",
            "hostnames": ["^$"],  # matches no host: it shares the machine of the system above
            "prefix": "runs/reframe",
            "partitions": [
                {
                    "name": "all",
                    # On a cluster with accounting use `slurm`, which calls sacct.
                    "scheduler": "squeue",
                    "launcher": "srun",
                    "environs": ["default"],
                    "access": ["--partition=all", "--exclusive"],
                    # Open MPI requires PMIx, and srun may default to another interface.
                    "env_vars": [["SLURM_MPI_TYPE", "pmix"]],
                    "max_jobs": 1,  # concurrent jobs share the network, and here also the cores
                },
            ],
        },
    ],
    "environments": [{"name": "default", "features": ["mpi"]}],
}
