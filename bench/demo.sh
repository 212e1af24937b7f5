#!/usr/bin/env bash
# Demo: train four algorithms on a uniform and a skewed partition of real data, and create a report.
# Usage: bash bench/demo.sh FOLDER
set -euo pipefail

out=$1
rm -rf "$out"
echo "training four algorithms on two partitions of the handwritten digits: three seeds, 200 steps at 4 ranks each"
mpirun -n 4 python -m bench.sweep bench/sweeps/demo.toml --out "$out" --no-table
printf '\n'
python -m bench.report "$out" --html "$out/report.html" --csv "$out/table.csv"
