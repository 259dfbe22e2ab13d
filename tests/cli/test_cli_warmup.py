"""``normkit warmup`` leaves nothing to compile for the processes that follow."""

import os
import subprocess
import sys

# a listener on Numba's compiler counts what a fit and a norm function in a fresh process compile
COUNT = """
from numba.core import event
class Count(event.Listener):
    started = 0
    def on_start(self, event): self.started += 1
    def on_end(self, event): pass
import numpy as np, normkit
count = Count()
with event.install_listener("numba:compile", count):
    X = np.arange(40, dtype=np.float32).reshape(10, 4)
    normkit.MLPClassifier((3,), max_iter=1, normalization="batch", batch_size=5).fit(X, [0, 1] * 5)
    normkit.layer_norm(X.astype(np.float64))
    normkit.batch_norm(X)
print(count.started)
"""


def test_nothing_left_to_compile():
    # the cache of this test run: compiling into an empty one takes a minute
    done = subprocess.run([sys.executable, "-m", "normkit", "warmup"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "training, float32" in done.stdout and "norm functions, float64" in done.stdout
    command = [sys.executable, "-W", "ignore", "-c", COUNT]
    after = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ)
    assert after.returncode == 0, after.stderr
    assert after.stdout.strip() == "0"
