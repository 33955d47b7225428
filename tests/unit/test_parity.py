"""The parity tool: what is chosen, what a stream of results comes to, what a comparison says, and what is cleaned up."""

import argparse
import configparser
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.parity import command, sides, suites
from lab.parity import run as runs
from lab.parity.clean import beginnings, cloud, leftover
from lab.parity.parts import PARTS, class_of, plain, select, service
from lab.parity.resources import Resources
from lab.parity.results import Event, Outcome, Results, Row, Status, compare, first_line, load, save, settle
from lab.parity.sides import DIRECT, SIDES, Ability
from lab.report import LabError

A = "tempest.api.compute.servers.test_x.ServersTest.test_a"
B = "tempest.api.compute.servers.test_x.ServersTest.test_b"
C = "tempest.api.compute.test_quotas.QuotasTest.test_c"
D = "tempest.serial_tests.api.compute.test_y.AggregatesTest.test_d"
E = "tempest.scenario.test_z.Story.test_e"
F = "heat_tempest_plugin.tests.api.test_heat_api.stacks_create_stack.test_request"
G = "heat_integrationtests.functional.test_delete.DeleteInProgressTest.test_g"
H = "heat_integrationtests.functional.test_aws_stack.AwsStackTest.test_adopt"
ALL = [f"{test}[id-1,smoke]" for test in (A, B, C, D, E, F, G, H)]

PASS = Outcome(Status.PASS)
FAIL = Outcome(Status.FAIL, 1.0, "ServerFault: no")
SKIP = Outcome(Status.SKIP, 0.0, "not here")

ABILITY = Ability((2, 100), (3, 71), ("port-security", "router"), ("lab", "lab2"), "lab", "file", 2, True)
RESOURCES = Resources("i1", "one", "i2", "42", "nano", "84", "micro", "net", "multi")


def event(test: str, status: str = "success", **details: str) -> Event:
    return Event(test, status, 1.0, details)


@pytest.mark.parametrize(
    ("part", "tests"),
    [("compute-a", [A, B]), ("compute-b", [C]), ("serial", [D]), ("scenario", [E]), ("heat", [F, G]), ("heat-adoption", [H])],
)
def test_a_part_selects_by_name(part: str, tests: list[str]) -> None:
    assert [plain(test) for test in select(ALL, PARTS[part])] == tests


def test_no_test_is_in_two_parts() -> None:
    chosen = [test for part in PARTS.values() for test in select(ALL, part)]
    assert sorted(chosen) == sorted(ALL)


def test_a_user_narrows_a_part_and_learns_of_a_bad_expression() -> None:
    assert select(ALL, PARTS["compute-a"], "test_b") == [f"{B}[id-1,smoke]"]
    with pytest.raises(LabError, match="--tests"):
        select(ALL, PARTS["compute-a"], "(")


@pytest.mark.parametrize(
    ("test", "name"), [(A, "compute"), (D, "compute"), (E, "scenario"), (F, "heat api"), (G, "heat functional"), ("x.y", "other")]
)
def test_a_test_is_about_a_service(test: str, name: str) -> None:
    assert service(test) == name


def test_an_event_about_a_class_names_it() -> None:
    assert class_of("setUpClass (tempest.api.x.Y)") == "tempest.api.x.Y"
    assert class_of(A) is None


def test_the_first_line_of_a_failure_is_what_was_raised_with_its_details() -> None:
    inner = "Traceback (most recent call last):\n  File x\n    y()\nKeyError: 'z'\n\nDuring handling of it:\n\n"
    outer = "Traceback (most recent call last):\n  File x\n    raise\ntempest.lib.exceptions.ServerFault: Got server fault\n"
    assert first_line(inner + outer) == "tempest.lib.exceptions.ServerFault: Got server fault"
    assert first_line(inner + outer + "Details: {'code': 500}\nmore") == (
        "tempest.lib.exceptions.ServerFault: Got server fault Details: {'code': 500}"
    )
    assert first_line("no reason\nat all") == "no reason"
    assert first_line("") == ""


def test_every_expected_test_has_an_outcome() -> None:
    events = [
        event(f"{A}[id-1,smoke]"),
        event("setUpClass (tempest.api.compute.test_quotas.QuotasTest)", "skip", reason="no quotas"),
        event("setUpClass (tempest.serial_tests.api.compute.test_y.AggregatesTest)", "fail", traceback="Traceback\nX: y"),
        event("tearDownClass (tempest.scenario.test_z.Story)", "fail", traceback="too late"),
    ]
    outcome = settle(ALL[:5], events)
    assert {test: result.status for test, result in outcome.items()} == {
        A: Status.PASS, B: Status.FAIL, C: Status.SKIP, D: Status.FAIL, E: Status.FAIL,
    }  # fmt: skip
    assert outcome[C].reason == "no quotas"
    assert "lost" in outcome[B].reason
    assert "lost" in outcome[E].reason  # the tear-down of a class says nothing about its tests


def test_a_test_that_never_ended_has_failed() -> None:
    assert event(A, "inprogress").outcome == Outcome(Status.FAIL, 1.0, "inprogress")


def test_that_nobody_listened_is_seen() -> None:
    refused = "urllib3.exceptions.MaxRetryError: Failed to establish a new connection: [Errno 111] Connection refused"
    assert Outcome(Status.FAIL, 0.0, refused).away
    assert not FAIL.away and not PASS.away


def test_a_comparison_counts_what_passes_directly_and_lists_what_is_worse_through_cascade() -> None:
    direct = {A: PASS, B: PASS, C: FAIL, D: SKIP, E: PASS}
    through = {A: PASS, B: FAIL, C: PASS, D: PASS}
    rows = compare(direct, through)
    assert rows["compute"] == Row(ran=3, direct=2, through=1, worse={B: FAIL})
    assert rows["scenario"] == Row(ran=1, direct=1, untried=1)
    assert command.total(rows.values()) == Row(ran=4, direct=3, through=1, untried=1, worse={B: FAIL})


def test_skipped_through_cascade_is_worse_than_passed() -> None:
    assert compare({A: PASS}, {A: SKIP})["compute"].worse == {A: SKIP}


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "paris-image.json"
    assert load(path) is None
    results = Results("paris", "image", "paris", {"compute": "2.100"}, {A: PASS, B: FAIL})
    save(path, results)
    assert load(path) == results
    path.write_text("[]")
    with pytest.raises(LabError, match="not a file of results"):
        load(path)


def test_cascade_has_results_per_direct_side() -> None:
    assert runs.label("cascade", "image", sides.DEFAULT_DIRECT) == "cascade-image"
    assert runs.label("cascade", "image", "tokyo") == "cascade-as-tokyo-image"
    assert runs.label("tokyo", "image", "tokyo") == "tokyo-image"


def test_a_site_is_a_direct_side_only_with_a_keystone_of_its_own() -> None:
    assert set(DIRECT) == {"paris", "tokyo"}
    assert len({side.auth_url for side in SIDES.values()}) == len(SIDES)


def _options(side: str, suite: suites.Suite = suites.TEMPEST) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(suite.configure(suites.Run(SIDES[side], ABILITY, RESOURCES, "t123456", Path("/x"), "http://127.0.0.1:1")))
    return parser


def test_requests_of_one_file_stay_in_one_process() -> None:
    group = re.compile(suites.HEAT.group)
    found = [found[0] for test in (F, F.replace("create_stack", "show"), G) if (found := group.match(test))]
    assert found[0] == found[1] == "heat_tempest_plugin.tests.api.test_heat_api.stacks"
    assert found[2] == G.removesuffix("test_g")


def test_heats_tests_get_the_same_on_both_sides_and_an_account_that_goes_with_the_run() -> None:
    one, two = _options("paris", suites.HEAT)["heat_plugin"], _options("cascade", suites.HEAT)["heat_plugin"]
    assert {name for name in one if one[name] != two[name]} == {"auth_url", "region"}
    assert leftover(beginnings("t123456", []), set(), one["project_name"], None)
    assert one["minimal_instance_type"] != one["instance_type"]


def test_both_sides_run_with_the_same_features_and_microversions() -> None:
    one, two = _options("paris"), _options("cascade")
    differ = {
        (section, option) for section in one.sections() for option in one[section] if one[section][option] != two[section][option]
    }
    assert {option for _, option in differ} == {"uri_v3", "region"}
    assert one["compute"]["max_microversion"] == "2.100"
    assert one["volume"]["backend_names"] == "lab,lab2"
    assert one["volume-feature-enabled"]["multi_backend"] == "true"


def test_what_a_run_made_is_told_by_its_prefix_its_log_and_its_projects() -> None:
    log = ["'username': 'tempest-ServersTest-301656915-project-member', 'x'", "nothing of tempest-cleanup"]
    starts = beginnings("t123456", log)
    assert starts == ("t123456", "tempest-ServersTest-301656915", "updated name")
    assert leftover(starts, set(), "t123456-volume-1", None)
    assert leftover(starts, set(), "tempest-ServersTest-301656915-project-member", None)
    assert leftover(starts, {"p1"}, "default", "p1")
    assert not leftover(starts, {"p1"}, "tempest-ServersTest-999999999", "p2")
    assert not leftover(starts, set(), None, None)


def test_accounts_that_a_run_deleted_are_known_at_sites_by_their_ids() -> None:
    ident = "c988bce9cb104acc82ffdfb6a779f5ad"
    line = "Request (X:tearDownClass): {} DELETE http://127.0.0.1:19000/identity/v3/projects/" + ident + " 0.122s"
    starts = beginnings("t123456", [line.format(204)])
    assert starts == (ident, "t123456", "updated name")
    assert leftover(starts, set(), ident, None)
    assert beginnings("t123456", [line.format(403)]) == ("t123456", "updated name")


class Cloud:
    """Stands for a connection: one user, and one project that is named after an id."""

    def __init__(self) -> None:
        self.identity = self.compute = self.block_storage = self.image = self.network = self
        self.deleted: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        named = {"projects": ("p-here", "p-hub"), "users": ("u-here", "someone")}.get(name)
        if name.startswith("delete_"):
            return lambda item, **_: self.deleted.append(item.id)
        return lambda **_: [SimpleNamespace(id=named[0], name=named[1])] if named else []


def test_a_project_of_the_run_is_removed_where_it_is_named_after_its_id() -> None:
    connection = Cloud()
    assert cloud(connection, ("t123456",), {"p-hub"}) == ["1 project"]
    assert connection.deleted == ["p-here"]


def test_without_a_prefix_nothing_is_cleaned_up() -> None:
    with pytest.raises(LabError):
        beginnings("", [])


def test_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    args = parser.parse_args(["run", "--side", "cascade", "--part", "image", "--tests", "x"])
    assert (args.action, args.side, args.part, args.tests, args.direct) == ("run", ["cascade"], ["image"], "x", "paris")
    assert parser.parse_args(["run", "--part", "all"]).side is None
    assert parser.parse_args(["compare", "--direct", "tokyo"]).direct == "tokyo"


def test_hosts_a_run_disabled_are_taken_back() -> None:
    """Those with a reason are somebody's own."""
    rows = [("a", "disabled", None), ("b", "disabled", "memory fails"), ("c", "enabled", None)]
    hosts = [SimpleNamespace(name=None, host=h, binary="nova-compute", status=s, disabled_reason=r) for h, s, r in rows]
    connection, enabled = Cloud(), list[str]()
    connection.__dict__ |= {"services": lambda **_: hosts, "enable_service": lambda service, **_: enabled.append(service.host)}
    assert cloud(connection, ("t123456",), set()) == ["1 host out of use"]
    assert enabled == ["a"]
