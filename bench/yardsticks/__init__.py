"""Yardsticks of the suite: plain torch, DistributedDataParallel, gloo."""
