"""What everyday runs leave out: repetitions that have not yet told more than the case that is kept."""

import os

import pytest

SLOW = bool(os.environ.get("NORMKIT_SLOW_TESTS"))
nightly = pytest.mark.skipif(not SLOW, reason="a nightly repetition; set NORMKIT_SLOW_TESTS=1")
