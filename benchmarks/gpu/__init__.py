"""What only a machine with a GPU can tell: see __main__.py."""
