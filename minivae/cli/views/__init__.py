"""What the command line knows of each model, a file for a family; registry.py lists them."""
