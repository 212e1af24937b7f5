"""Readers of the files named by --data, and downloads of open data sets."""
