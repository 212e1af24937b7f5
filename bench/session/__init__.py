"""A program on its ranks: launch, signals, watchdog, binding and clocks."""
