"""Sweeps: each file names a base config and the trials that differ from it."""
