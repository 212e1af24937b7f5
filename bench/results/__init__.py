"""HDF5 schema of result files, writers, readers, derived numbers and validation."""
