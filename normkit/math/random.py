"""Random numbers that depend on integers alone: the same on every target, in any order, with any number of threads."""

import numpy as np


def uniform(seed, step, k):
    """Return a float64 in [0, 1) that depends on three integers (splitmix64, Steele et al. 2014)."""
    x = np.uint64(seed) + np.uint64(step) * np.uint64(0xD1B54A32D192ED03) + np.uint64(k) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return np.float64(x >> np.uint64(11)) * (1.0 / 9007199254740992.0)
