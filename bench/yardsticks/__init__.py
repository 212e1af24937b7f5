"""What the suite is compared with: plain torch, DistributedDataParallel, gloo."""
