"""Timing of normkit and of its peers: what ``normkit bench`` and the scripts in ``benchmarks/`` run."""
