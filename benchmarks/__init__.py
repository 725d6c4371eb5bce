"""Benchmarks of minivae; nothing here is installed with it."""
