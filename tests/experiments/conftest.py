"""What several tests of experiments start from."""

import pytest
from experiments_data import table


@pytest.fixture
def csv(tmp_path):
    table().to_csv(tmp_path / "table.csv", index=False)
    return str(tmp_path / "table.csv")
