"""The result file of `gpu.py`: written after every case, so that a run that ends early is gone on with later."""

import hashlib
import json
import time
from pathlib import Path

from normkit.bench import results

# seconds between two writes of a file that grows; the cases since the last one are lost with the process
EVERY = 1.0
# exit status of a worker whose device no longer answers: the case that did it is on file, the next one needs a new
# process
RESTART = 75


def source_digest():
    """Return a digest of normkit's sources: results of other code are not gone on with."""
    import normkit

    root = Path(normkit.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class OtherResults(Exception):
    """The file holds results that this run must not be mixed with."""


class Store:
    """Results by section and key."""

    def __init__(self, path, result):
        self.path, self.result = Path(path), result
        self._saved = 0.0

    @staticmethod
    def heartbeat(path):
        """Return the small file beside the results that names the case that runs."""
        return Path(f"{path}.running")

    @classmethod
    def read(cls, path):
        """Return what the file holds, None where there is no file."""
        path = Path(path)
        return cls(path, json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    @classmethod
    def open(cls, path, about, fresh=False):
        """Return the file's results, or none, if it has those of the same device, versions and code."""
        store = None if fresh else cls.read(path)
        if store is None:
            return cls(path, {"kind": "gpu", **about, "absent": {}, "sections": {}})
        for name, value in about.items():
            if (found := store.result.get(name)) != json.loads(json.dumps(value)):
                raise OtherResults(
                    f"{path} holds results with {name} {found}, this run has {value}: "
                    "name another --output, or replace the file with --fresh"
                )
        return store

    def section(self, name):
        """Return a section's part."""
        return self.result["sections"].setdefault(name, {"cases": {}, "not_measured": []})

    def cases(self, name):
        """Return a section's results by key."""
        return self.section(name)["cases"]

    def begin(self, section, key):
        """Note what runs: should the process end here, it is known why."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.heartbeat(self.path).write_text(json.dumps([section, key]), encoding="utf-8")

    def put(self, section, key, record):
        """Take in a result, and write the file unless it has just been written."""
        self.cases(section)[key] = record
        if time.time() - self._saved > EVERY:
            self.save()

    def settle(self, reason):
        """Put down the case that was running as failed; return its section and key, None where none was."""
        note = self.heartbeat(self.path)
        if not note.exists():
            return None
        section, key = json.loads(note.read_text(encoding="utf-8"))
        if key not in self.cases(section):  # else the worker has said itself what came of it
            self.put(section, key, {"error": reason})
        self.close()
        return section, key

    def close(self):
        """Write the file; nothing runs any more."""
        self.save()
        self.heartbeat(self.path).unlink(missing_ok=True)

    def forget_failures(self):
        """Drop the cases that ended with an error, to try them again."""
        for part in self.result["sections"].values():
            part["cases"] = {key: record for key, record in part["cases"].items() if not failed(record)}

    def save(self):
        """Write the file, at once or not at all."""
        for part in self.result["sections"].values():
            part["not_measured"] = [key for key in part["not_measured"] if key not in part["cases"]]
        results.write(self.path, self.result)
        self._saved = time.time()

    def wrong(self):
        """Return the keys of the cases that failed or gave a wrong result."""
        return [
            f"{name}: {key}"
            for name, part in self.result["sections"].items()
            for key, record in part["cases"].items()
            if failed(record)
        ]


def failed(record):
    """Return whether a case is wrong, or ended with an error; of a peer that is only noted."""
    own = record.get("peers", {}).get("normkit", {})
    return "error" in record or record.get("right") is False or "error" in own
