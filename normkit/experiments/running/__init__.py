"""Doing runs: where, from which random numbers, and how each is trained and measured."""
