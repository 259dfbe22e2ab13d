"""Files that are there whole or not at all."""

import os
import stat

from normkit._files import write_atomically


def test_a_file_keeps_its_mode(tmp_path):
    old = os.umask(0o022)
    try:
        for mode in (0o600, 0o664):
            (tmp_path / "file").write_bytes(b"before")
            (tmp_path / "file").chmod(mode)
            write_atomically(tmp_path / "file", b"after")
            assert (tmp_path / "file").read_bytes() == b"after"
            assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
        write_atomically(tmp_path / "new", b"")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644
    finally:
        os.umask(old)
