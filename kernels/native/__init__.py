"""The C backend: the primitives of kernels/contract.py with register blocks, vector types and threads."""
