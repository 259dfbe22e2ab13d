"""The norms' scalar formulas: plain functions that a kernel takes as device functions; derived in normkit.reference.

A mean is a pair, mean + low: the second part is what rounding the first to the arithmetic left out, without which a
mean of 1e4 standard deviations would cost four digits of what is normalized by it.
"""


def deviation(x, mean, low):
    """Return x - (mean + low)."""
    return (x - mean) - low


def gradient(g, xhat, rstd, mean_g, mean_g_xhat):
    """Return dx of a norm from g = gamma * dy."""
    return rstd * (g - mean_g - xhat * mean_g_xhat)


def moving_average(moving, batch, kept, taken):
    """Return the next moving statistic; kept + taken = 1."""
    return kept * moving + taken * batch


def finite(x):
    """Return whether x is neither NaN nor infinite."""
    return x - x == 0


def merge_moments(n, mean, low, m2, other_n, other_mean, other_low, other_m2, share):
    """Return mean, low and sum of squared deviations of two samples, `share` = other_n / (n + other_n)."""
    delta = (other_mean - mean) + (other_low - low)
    low += delta * share
    rounded = mean + low
    of_low = rounded - mean
    low = (mean - (rounded - of_low)) + (low - of_low)  # what rounding left out, exactly
    return rounded, low, m2 + other_m2 + delta * delta * (n * share)
