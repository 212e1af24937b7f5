"""One training run: experiment, setup, loop, evaluation, recording and checkpoints."""
