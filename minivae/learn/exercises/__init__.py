"""The exercises, one for each lesson; exercise.py says how their files are read."""
