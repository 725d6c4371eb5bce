"""Tests and measurements that need a GPU, see __main__.py."""
