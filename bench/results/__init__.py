"""The HDF5 schema, its writer and readers, statistics."""
