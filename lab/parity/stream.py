# mypy: disable-error-code="import-not-found, import-untyped"
"""Turn the stream of a test run on stdin into a JSON line per test. Runs with Tempest's own Python, and so imports nothing
of the lab."""

import json
import sys
from typing import Any

import subunit
import testtools


def _report(test: dict[str, Any]) -> None:
    if test["status"] == "exists":  # only announced
        return
    began, ended = test["timestamps"]
    event = {
        "test": test["id"],
        "status": test["status"],
        "seconds": (ended - began).total_seconds() if began and ended else 0.0,
        "details": {
            name: content.as_text() for name, content in test["details"].items() if name.startswith(("traceback", "reason"))
        },
    }
    print(json.dumps(event), flush=True)


def main() -> None:
    """Read to the end."""
    source = subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout")
    result = testtools.StreamToDict(_report)
    result.startTestRun()
    source.run(result)
    result.stopTestRun()


if __name__ == "__main__":
    main()
