"""The experiment: which normalization, at which batch size, on which data, and is the difference real."""
