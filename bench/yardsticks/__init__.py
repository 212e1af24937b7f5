"""Yardsticks of the suite: plain torch, batched products, DistributedDataParallel, gloo."""
