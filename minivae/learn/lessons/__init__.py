"""The lessons, in the order in which they build on each other; lesson.py says how their files are read."""
