"""Packaging: the folder name is the import name, and the editable install is a plain path entry."""

from setuptools import find_packages, setup

setup(
    name="murmuration",
    version="0.4.0",
    description="MPI benchmark suite for parallel training",
    license="MIT",
    python_requires=">=3.11",
    package_dir={"": "."},
    packages=find_packages(".", include=["algorithms*", "bench*", "partitions*", "slurm*"]),
    package_data={
        "algorithms": ["py.typed"],
        "bench": ["py.typed"],
        "bench.reporting": ["page.css", "page.html.jinja", "page.js", "fit.js"],
        "partitions": ["py.typed"],
        "slurm": ["py.typed", "*.sbatch", "*.sh", "devcluster", "sites/*.toml", "sweeps/*.toml"],
    },
    entry_points={"console_scripts": ["murmuration = bench.__main__:main"]},
    install_requires=[
        "altair",
        "h5py",
        "jinja2",
        "markupsafe",
        "mpi4py",
        "numpy",
        "pandas",
        "pyarrow",
        "rich",
        "scikit-learn",
        "scipy",
        "torch",
        "vl-convert-python",
    ],
    extras_require={
        "docs": ["mkdocs-material"],
        "mpi": ["openmpi"],
        "tensorboard": ["tensorboard"],
        "test": [
            "codespell",
            "h5netcdf",
            "hypothesis",
            "mypy",
            "pandas-stubs",
            "pytest",
            "pytest-mpi",
            "pytest-xdist",
            "reframe-hpc",
            "ruff",
            "xarray",
        ],
    },
)
