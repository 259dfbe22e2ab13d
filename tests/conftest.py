"""Settings of the whole suite."""

from hypothesis import settings

# The same examples in every run, and no limit on the time of one: the first of them may compile.
settings.register_profile("normkit", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("normkit")
