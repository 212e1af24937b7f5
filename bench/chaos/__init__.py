"""Training under drawn faults: strategies against deaths, and a run without faults beside them."""
