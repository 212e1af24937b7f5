"""A loop of one's own beside DistributedDataParallel: `mpirun -n 2 python own_loop.py`.

Two copies of a model see the same minibatches. One exchanges by bench.loop, the other by DDP over
gloo; at the end both have the same parameters to rounding.
"""

import tempfile
from pathlib import Path

import torch
from mpi4py import MPI
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from bench.loop import attach

comm = MPI.COMM_WORLD
store = comm.bcast(str(Path(tempfile.mkdtemp()) / "store"))
distributed.init_process_group("gloo", f"file://{store}", rank=comm.rank, world_size=comm.size)


def model() -> torch.nn.Module:
    """Return a perceptron, the same on every rank."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))


def adam(module: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a module."""
    return torch.optim.Adam(module.parameters(), lr=0.01)


loss = torch.nn.functional.cross_entropy
random = torch.Generator().manual_seed(comm.rank)  # every rank has data of its own
ours, theirs = model(), model()
exchange = attach(ours, adam(ours), "allreduce_sgd", batch=16)
wrapped, optimizer = DistributedDataParallel(theirs), adam(theirs)
for _ in range(50):
    x = torch.randn(16, 2, generator=random)
    y = (x.prod(1) > 0).long()  # are both coordinates of one sign?
    exchange.step(lambda x=x, y=y: loss(ours(x), y))

    optimizer.zero_grad()
    loss(wrapped(x), y).backward()
    optimizer.step()

exchange.save("runs/own_loop.h5")
pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
difference = max(float((a - b).detach().abs().max()) for a, b in pairs)
if comm.rank == 0:
    print(f"largest difference of a parameter: {difference:.1e}")
del wrapped
distributed.destroy_process_group()
assert difference < 1e-4
