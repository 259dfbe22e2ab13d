"""The process that does the work of `gpu.py`, section by section."""

import importlib
import json
import sys
import time

from normkit.bench.gpu import device as devices
from normkit.bench.gpu.peers import PEERS, choose
from normkit.bench.gpu.sections import SECTIONS, Unfinished, select, unknown
from normkit.bench.gpu.store import RESTART, OtherResults, Store, source_digest


class Run:
    """What the sections share: the device, the results, the options and the time."""

    def __init__(self, options, device, store):
        self.device, self.store = device, store
        self.quick = options["quick"] or options["dry_run"]
        self.dry, self.deadline = options["dry_run"], options["deadline"]
        self.only, self.sections = options["only"], options["sections"]
        self.peers, absent = choose(options["peers"], self.dry)
        store.result["absent"] |= absent
        store.result["labels"] = {name: peer.label for name, peer in PEERS.items()}
        self.end = self.deadline  # of the section

    def left(self):
        """Return the seconds that the section has left."""
        return self.end - time.time()

    def _grant(self, name):
        """Give a section its share of what is left."""
        after = self.sections[self.sections.index(name) :]
        share = SECTIONS[name] / sum(SECTIONS[other] for other in after)
        now = time.time()
        self.end = now + share * max(0.0, self.deadline - now)

    def plan(self, name, items):
        """Note what is not on file; what is left of it at the end was not measured."""
        done = self.store.cases(name)
        self.store.section(name)["not_measured"] = [item.key for item in items if item.key not in done]

    def section(self, name, items):
        """Run the cases that are not on file and that `--only` names, as far as time allows."""
        self._grant(name)
        done, part = self.store.cases(name), self.store.section(name)
        wanted = [item for item in select(items, self.only) if item.key not in done]
        began, longest = time.time(), 0.0
        if wanted:
            part.setdefault("states", []).append(self.device.state())
        for item in wanted:
            # what takes as long as the longest before must not go beyond the end of all
            if self.left() > 0 and time.time() + longest < self.deadline:
                start = time.time()
                self._case(name, item)
                longest = max(longest, time.time() - start)
        self.plan(name, items)
        if wanted:
            part["states"].append(self.device.state())
            part["seconds"] = round(part.get("seconds", 0.0) + time.time() - began, 1)
        self.store.save()
        missing = f", {len(part['not_measured'])} not measured" if part["not_measured"] else ""
        print(f"{name}: {len(done)} cases{missing}, {time.time() - began:.0f} s", flush=True)

    def _case(self, name, item):
        self.store.begin(name, item.key)
        try:
            record = item.call()
        except Unfinished as why:
            print(f"{name}: {item.key}: {why}", file=sys.stderr, flush=True)
            return
        except Exception as error:  # the next case may do better
            record = {"error": describe(error)}
            print(f"{name}: {item.key}: {record['error']}", file=sys.stderr, flush=True)
        self.store.put(name, item.key, record)
        if not self.device.healthy():
            self.store.save()
            sys.exit(RESTART)


def describe(error):
    """Return an exception as one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300] if text else ''}"


def work(options):
    """Run the sections; return the exit status."""
    if missing := devices.missing(options["dry_run"]):
        print(f"gpu.py needs {'; '.join(missing)}", file=sys.stderr)
        return 2
    device = devices.Host() if options["dry_run"] else devices.Cuda()
    about = {
        "dry_run": options["dry_run"], "quick": options["quick"] or options["dry_run"], "device": device.describe(),
        "versions": devices.versions(), "source": source_digest(),
    }  # fmt: skip
    try:
        store = Store.open(options["output"], about, options["fresh"])
        run = Run(options, device, store)
    except (OtherResults, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if options["retry"]:
        store.forget_failures()
    plans = {name: importlib.import_module(f"normkit.bench.gpu.sections.{name}").items(run) for name in run.sections}
    every = [item for items in plans.values() for item in items]
    if names := unknown(every, run.only):
        known = sorted({value for item in every for value in item.fields.values()})
        print(f"nothing is called {', '.join(names)}; known are {', '.join(known)}", file=sys.stderr)
        return 2
    for name, items in plans.items():
        run.plan(name, items)
    store.save()  # from here on there is a file to put down failures in
    for name, items in plans.items():
        run.section(name, items)
    store.close()
    wrong = store.wrong()
    if wrong:
        print(f"failed: {len(wrong)} cases, the first {'; '.join(wrong[:3])}", file=sys.stderr)
    return 1 if wrong else 0


def main():
    """Work by the options that the command line holds as JSON."""
    return work(json.loads(sys.argv[1]))
