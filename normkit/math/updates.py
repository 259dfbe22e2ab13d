"""The optimizers' scalar formulas: the next value of a parameter and of its moments, from its gradient d."""

import math

CODES = {"sgd": 0, "adam": 1, "accumulate": 2}  # accumulate sums gradients, for SciPy's L-BFGS


def adam(w, d, m, v, rate, shrink, beta_1, beta_2, rest_1, rest_2, epsilon):
    """Return w, m and v (Kingma and Ba 2014); rest_1 = 1 - beta_1, and `rate` has the correction of the bias."""
    t = type(w)
    m = beta_1 * m + rest_1 * d
    v = beta_2 * v + rest_2 * (d * d)
    # inputs that are always zero would let the moments decay into denormals, which some CPUs
    # handle a hundred times slower
    m = m if abs(m) > t(1e-25) else t(0)
    v = v if v > t(1e-35) else t(0)
    return w * shrink - rate * m / (t(math.sqrt(v)) + epsilon), m, v


def momentum(w, d, v, rate, shrink, mu, ahead, now):
    """Return w and v: w += ahead * v - now * d.

    Nesterov looks ahead with the same gradient, (ahead, now) = (mu, rate); plain momentum has (1, 0).
    """
    t = type(w)
    v = mu * v - rate * d
    v = v if abs(v) > t(1e-30) else t(0)
    return w * shrink + (ahead * v - now * d), v
