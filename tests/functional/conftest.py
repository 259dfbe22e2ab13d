import pytest

from normkit.functional import _arrays


@pytest.fixture(params=["serial", "parallel"])
def path(request, monkeypatch):
    """Force one of the two compiled forms of each kernel, whatever the size of the data."""
    monkeypatch.setattr(_arrays, "PARALLEL_FROM", 0 if request.param == "parallel" else 1 << 60)
    return request.param
