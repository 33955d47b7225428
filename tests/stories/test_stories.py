"""Tells the stories of this folder: one YAML file, one user, one test.

A story is gabbi's (https://gabbi.readthedocs.io): requests in order, each with what must come back. Beyond gabbi's own
keys a file may say ``only: sim`` with a ``reason``. Requests name values of the world by $ENVIRON: TOKEN (a member of
a project made for the story), ADMIN (the administrator's token), PROJECT, USER, USER_NAME, PASSWORD, GATEWAY (its
URL) and SIM (the simulator's control URL). The story ends at its first surprise, and what it made it must also have deleted.
"""

from __future__ import annotations

import json
import unittest
from pathlib import Path

import pytest
import yaml
from gabbi import suitemaker
from gabbi.handlers import RESPONSE_HANDLERS

from tests.stories.world import World, tenant

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))


@pytest.mark.parametrize("story", STORIES, ids=lambda p: p.stem)
def test_story(story: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file, request by request."""
    doc = json.loads(json.dumps(yaml.safe_load(story.read_text())))  # no two requests share a body, as YAML's aliases do
    if doc.get("only", world.name) != world.name:
        pytest.skip(f"{doc['only']} only: {doc['reason']}")
    host, port = world.url.removeprefix("http://").split(":")
    suite = suitemaker.test_suite_from_dict(
        unittest.TestLoader(), story.stem, doc, str(story.parent), host, int(port), None, None,
        handlers=[h() for h in RESPONSE_HANDLERS],
    )  # fmt: skip
    with tenant(world, story.stem) as who:
        for key, value in who.environ().items():
            monkeypatch.setenv(key, value)
        for request in suite:
            result = unittest.TestResult()
            request.run(result)
            for _, text in result.failures + result.errors:
                said = text.partition("AssertionError: ")[2] or text.splitlines()[-1]
                pytest.fail(f"{story.name}: {request.test_data['name']}\n{said}", pytrace=False)
        assert who.left() == {}
