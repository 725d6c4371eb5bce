"""Benchmarks of minivae, which are not installed with it."""
