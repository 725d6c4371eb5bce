"""The CUDA backend: hand-written kernels behind the contract, launched through CuPy or, in the tests, an emulator."""
