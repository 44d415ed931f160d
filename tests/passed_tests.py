"""A plugin for pytest (``-p passed_tests``) that records passed tests; a run that is started again leaves them out.

The record is the file that LANGSAMP_PASSED names: a line per test with its outcome, its name and, if it was
skipped, the reason.
"""

import os
from collections import Counter
from pathlib import Path

RECORD = Path(os.environ["LANGSAMP_PASSED"])
WORKER = "PYTEST_XDIST_WORKER" in os.environ
settled = set()
"""Tests whose setup or call failed or was skipped; their teardown passes nevertheless."""


def recorded():
    """Return outcome and reason of each recorded test; a line that a kill cut off does not count."""
    lines = RECORD.read_text(encoding="utf-8").splitlines(keepends=True) if RECORD.is_file() else []
    rows = [line.rstrip("\n").split("\t") for line in lines if line.endswith("\n")]
    return {row[1]: (row[0], row[2]) for row in rows if len(row) == 3}


def pytest_collection_modifyitems(config, items):
    done = recorded()
    left_out = [item for item in items if item.nodeid in done]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in done]


def pytest_runtest_logreport(report):
    """Note one phase of a test, in the process that all reports reach."""
    if not report.passed:
        settled.add(report.nodeid)
    ended_well = report.skipped or (report.passed and report.when == "teardown" and report.nodeid not in settled)
    if WORKER or not ended_well:
        return
    reason = "".join(str(report.longrepr[2]).splitlines()[:1]) if report.skipped else ""
    with open(RECORD, "a", encoding="utf-8") as stream:
        stream.write(f"{'skipped' if report.skipped else 'passed'}\t{report.nodeid}\t{reason}\n")


def main():
    """Print a line for each folder of tests, the skipped tests by reason, and a closing line."""
    done = recorded()
    parts = Counter((test.split("/")[1], outcome) for test, (outcome, _) in done.items())
    for part in sorted({part for part, _ in parts}):
        print(f"{part}: {parts[part, 'passed']} passed, {parts[part, 'skipped']} skipped")
    for reason, count in Counter(reason for outcome, reason in done.values() if outcome == "skipped").most_common():
        print(f"skipped {count}: {reason}")


if __name__ == "__main__":
    main()
