"""The training engine: a plan of the network as plain arrays, and one compiled call per epoch."""
