#!/usr/bin/env bash
# Demo: train four algorithms on a uniform and a skewed partition of real data, and create a report.
# Usage: bash bench/demo.sh FOLDER
set -euo pipefail

out=$1
rm -rf "$out"
ranks=4
for partition in iid dirichlet:alpha=0.1; do
    for algorithm in allreduce_sgd local_sgd:period=8 push_sum:topology=exponential elastic_averaging; do
        printf '\n%s, %s\n' "$algorithm" "$partition"
        mpirun -n "$ranks" python -m bench.train --task digits \
            --algorithm "$algorithm" --partition "$partition" \
            --optimizer sgd:lr=0.1,momentum=0.9 --batch 16 --steps 400 --eval-every 10 --out "$out"
    done
done
printf '\n'
python -m bench.report "$out" --html "$out/report.html" --csv "$out/table.csv"
