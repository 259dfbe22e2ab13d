"""The report of an experiment: a page, its tables and its plots."""
