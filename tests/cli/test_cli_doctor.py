"""normkit doctor: all is told, problems are an exit code."""

import json
import os
import re
import subprocess
import sys

import pytest

from normkit import __version__, doctor


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "normkit", "doctor", *arguments], capture_output=True, text=True, timeout=300,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.stderr == ""
    return done


def test_a_machine_on_which_normkit_works():
    done = run()
    assert done.returncode == 0, done.stdout
    lines = dict(re.fullmatch(r"(\w+) +(.{16}) .*", line).groups()[::-1] for line in done.stdout.splitlines())
    assert {name.strip() for name in lines} == set(doctor._LOOKS)
    assert set(lines.values()) <= {"ok", "missing"}
    assert f"normkit {__version__}" in done.stdout


def test_json():
    done = run("--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and set(found) == set(doctor._LOOKS)
    assert found["results"] == {"status": "ok", "text": "the compiled norms give the formula's numbers"}
    assert json.loads(run("--format", "json").stdout).keys() == found.keys()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a folder that nobody can write to")
def test_a_cache_that_cannot_be_written():
    done = run("--json", NUMBA_CACHE_DIR="/proc/cache")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["compiled code"]["status"] == "problem"
    assert "NUMBA_CACHE_DIR=/proc/cache cannot be written to" in found["compiled code"]["text"]


def test_threads_are_told(tmp_path):
    found = json.loads(run("--json", NUMBA_NUM_THREADS="1").stdout)
    assert "at most: 1 (NUMBA_NUM_THREADS is 1)" in found["cores"]["text"]


def test_what_raises_is_a_problem(monkeypatch):
    def broken():
        raise OSError("two\nlines")

    monkeypatch.setattr(doctor, "_LOOKS", {"one": broken, "other": lambda: ("ok", "fine")})
    assert list(doctor.examine()) == [
        doctor.Finding("one", "problem", "OSError: two lines"), doctor.Finding("other", "ok", "fine"),
    ]  # fmt: skip


def test_wrong_numbers_are_a_problem(monkeypatch):
    import normkit

    monkeypatch.setattr(normkit, "layer_norm", lambda x: x)
    monkeypatch.setattr(doctor, "_LOOKS", {"results": doctor._results})
    (found,) = doctor.examine()
    assert found.status == "problem"


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(doctor, "_NEEDED", ("numpy", "no-such-package"))
    assert doctor._versions()[0] == "problem"
    monkeypatch.setattr(doctor, "_EXTRAS", {"no-such-package": "onnx"})
    assert doctor._extras() == ("missing", "not installed: no-such-package (pip install 'normkit[onnx]')")


def test_what_the_parts_say_of_a_whole_and_of_a_poor_machine(monkeypatch):
    import threadpoolctl

    import normkit._jit
    from normkit.experiments.data import images
    from normkit.experiments.errors import DataError
    from normkit.kernels.cuda import driver

    monkeypatch.setattr(doctor, "_EXTRAS", {"numpy": "onnx"})
    assert doctor._extras()[0] == "ok" and re.fullmatch(r"numpy [\d.]+", doctor._extras()[1])
    monkeypatch.setattr(driver, "current_device", lambda: driver.Device(1, (9, 0), 132))
    assert doctor._cuda() == ("ok", "device 1, compute capability 9.0, 132 multiprocessors")
    monkeypatch.setattr(threadpoolctl, "threadpool_info", list)
    assert doctor._blas() == ("ok", "one that threadpoolctl does not know")
    monkeypatch.setattr(normkit._jit, "cache_directory", lambda: "")
    assert doctor._cache()[0] == "problem" and "set NUMBA_CACHE_DIR" in doctor._cache()[1]

    def lost(name):
        raise DataError(f"{name} is not there")

    monkeypatch.setattr(images, "read", lost)
    assert doctor._fashion_mnist() == ("missing", "fashion-mnist is not there")


def test_the_processor_has_a_name_wherever_it_is_told(monkeypatch):
    from normkit import _machine

    told = "processor\t: 0\nmodel name\t: Some CPU @ 2.0 GHz\n"
    monkeypatch.setattr(_machine.Path, "read_text", lambda path: told)
    assert _machine.processor() == "Some CPU @ 2.0 GHz"
    told = "Hardware\t: a board\n"
    assert _machine.processor() == "a board"
    monkeypatch.setattr(_machine.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(_machine.platform, "processor", lambda: "")
    told = ""
    assert _machine.processor() == "aarch64"

    def lost(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(_machine.Path, "read_text", lost)
    assert _machine.processor() == "aarch64"
