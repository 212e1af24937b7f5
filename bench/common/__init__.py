"""Shared base of every program: errors, specs, options, files, sizes and text."""
