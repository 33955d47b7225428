"""Logs hold no secrets, say whose request they belong to, and metrics count."""

import json
import logging
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cascade import telemetry

FERNET = "gAAAAABm" + "x" * 60


@pytest.mark.parametrize(
    "event",
    [
        {"x-auth-token": FERNET},
        {"X-Subject-Token": "short"},
        {"headers": {"X-Auth-Token": "short", "accept": "json"}},
        {"password": "hunter2"},
        {"body": {"auth": {"identity": {"password": {"user": {"password": "hunter2"}}}}}},
        {"server": {"adminPass": "hunter2"}},
        {"error": f"GET /v3/auth/tokens with {FERNET} answered 404"},
        {"error": "mysql+aiomysql://cascade:hunter2@db/cascade refused"},
        {"error": "curl -H 'X-Auth-Token: hunter2' http://x"},
        {"error": '{"password": "hunter2"}'},
        {"rows": [("secret", "x"), {"secret": "hunter2"}]},
        {"raw": b'{"adminPass": "hunter2"}'},
        {"master_key": "hunter2"},
    ],
)
def test_secrets_are_cut(event: dict[str, object]) -> None:
    for text in (repr(telemetry.redact(None, "info", event)), telemetry.line(None, "info", event)):
        assert "hunter2" not in text and "gAAAA" not in text and "'short'" not in text and '"short"' not in text
        assert telemetry.CUT in text


@given(st.sampled_from(telemetry._WORDS), st.sampled_from(["", "X-", "my_", "os."]), st.booleans(), st.text(min_size=1, max_size=9))
def test_a_key_that_names_a_secret_is_seen_in_a_line(word: str, before: str, upper: bool, value: str) -> None:
    key = before + (word.upper() if upper else word)
    assert json.loads(telemetry.line(None, "info", {"event": "x", key: value}))[key] == telemetry.CUT


def test_a_line_holds_what_was_said() -> None:
    event = {
        "event": 'quoted "x" \\ é',
        "seconds": 0.5,
        "asked": ["paris", "hub"],
        "none": None,
        "where": Path("/x"),
        "ids": {1: (2,)},
    }
    assert json.loads(telemetry.line(None, "info", dict(event))) == {**event, "where": "PosixPath('/x')", "ids": {"1": [2]}}


def test_what_is_no_secret_stays() -> None:
    event = {"event": "request", "path": "/v3/auth/tokens", "status": 201, "site": "paris", "key": "lease/net", "tokens": 3}
    assert telemetry.redact(None, "info", dict(event)) == event


def test_bytes_that_are_no_text_are_no_reason_to_fail() -> None:
    """An address may hold them, and the line of a request is written when all else is done."""
    for path in ("/compute/\udcff", "/token/\udcff"):
        assert json.loads(telemetry.line(None, "info", {"event": "request", "path": path}))["path"] == path


@pytest.fixture
def lines(tmp_path: Path):
    """Set up logging to a file; gives a function that reads it."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    path = tmp_path / "cascade.log"
    telemetry.setup(log_file=str(path), level="info")
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    logging.getLogger("cascade").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_json_lines_with_the_request_bound(lines) -> None:
    log = structlog.get_logger("cascade.test")
    with structlog.contextvars.bound_contextvars(request_id="req-1"):
        log.info("one", site="paris", token=FERNET)
        log.debug("not this")
        try:
            raise ValueError(f"bad token {FERNET}")
        except ValueError:
            log.exception("two")
    logging.getLogger("keystoneauth").warning("library with %s", FERNET)
    logging.getLogger("keystoneauth").info("chatter")
    first, second, third = lines()
    assert first["event"] == "one" and first["request_id"] == "req-1" and first["site"] == "paris" and first["token"] == "***"
    assert first["level"] == "info" and first["logger"] == "cascade.test" and first["timestamp"].endswith("Z")
    assert "ValueError" in second["exception"] and "gAAAA" not in second["exception"]
    assert third["event"] == "library with ***" and third["level"] == "warning"


async def test_requests_are_counted_with_their_row_and_their_targets() -> None:
    telemetry.begin()
    telemetry.row.set("/servers/{id}")
    telemetry.asked("paris")
    telemetry.asked("hub")
    assert telemetry.ended("compute", "GET", 200, 0.01) == ["hub", "paris"]
    telemetry.begin()
    assert telemetry.ended("compute", "BREW", 418, 0.01) == []
    telemetry.QUEUED.labels("images").set_function(lambda: 2.0)
    body, kind = telemetry.render()
    text = body.decode()
    assert 'cascade_queued{queue="images"} 2.0' in text
    assert kind.startswith("text/plain")
    assert 'cascade_requests_total{method="GET",row="/servers/{id}",service="compute",status="200"}' in text
    assert 'method="other",row="",service="compute",status="418"' in text
