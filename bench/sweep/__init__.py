"""Modules of bench.sweep: the sweep file, its cases, and their training in one process."""
