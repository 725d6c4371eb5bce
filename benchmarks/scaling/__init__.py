"""How training scales with ranks and threads: measured on this machine, and a model of many machines."""
