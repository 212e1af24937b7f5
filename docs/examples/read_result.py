"""Read a result with xarray and pandas: `python read_result.py runs/task.h5`."""

import json
import sys

import xarray

with xarray.open_datatree(sys.argv[1], engine="h5netcdf") as tree:
    params = json.loads(tree.attrs["params_json"])
    print(f"{params['task']} with {params['algorithm']}, {params['workers']} workers")

    # xarray keeps names and units: the time of a step by phase, of the slowest rank.
    phases = tree["train"].ds["phase_ns"]
    slowest = phases.sum("phase").max("rank").median("step").item() / 1e6
    print(f"median step: {slowest:.3f} ms")
    print((phases.mean(("step", "rank")) / 1e6).round(3).to_series().to_string())

    # pandas: one row an evaluation, for any plot.
    curve = tree["eval"].ds.to_dataframe()
    print(curve[["step", "metric", "metric_worst", "consensus"]].to_string(index=False))
