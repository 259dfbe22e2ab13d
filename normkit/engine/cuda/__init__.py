"""Training on an NVIDIA GPU: the same plan, formulas and random numbers as on the CPU.

Nothing here imports numba-cuda or asks for a device before the first use.
"""
