"""The folder of an experiment: what is written there, run by run, and how it is read again."""
