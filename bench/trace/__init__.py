"""What bench.trace is made of: what is drawn of a result file, and how it is written."""
