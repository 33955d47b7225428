"""What the figures are made of: numbers, limits, ports, the check of a walk."""

from __future__ import annotations

import asyncio
import socket
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from bench.__main__ import conditions, parse, words
from bench.database import database
from bench.figures import FIGURES
from bench.figures.faults import compared
from bench.figures.lists import Seen
from bench.process import free_ports, listeners
from bench.progress import EVERY, Progress
from bench.report import Figure, markdown, number, percentile, plot
from cascade.store import Store


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (90, 9), (95, 10), (99, 10), (100, 10), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, value: int) -> None:
    assert percentile([3, 1, 2, 10, 9, 8, 7, 6, 5, 4], percent) == value


def test_a_percentile_of_nothing_is_refused() -> None:
    assert percentile([7.0], 99) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("figure", "kept", "share"),
    [
        (Figure("a", 30, "ms", 60), True, 0.5),
        (Figure("a", 60, "ms", 60), True, 1.0),
        (Figure("a", 90, "ms", 60), False, 1.5),
        (Figure("a", 60, "x", 30, least=True), True, 0.5),
        (Figure("a", 15, "x", 30, least=True), False, 2.0),
        (Figure("a", 0, "", 0), True, None),
        (Figure("a", 1, "", 0), False, None),
        (Figure("a", 1, ""), None, None),
    ],
)
def test_a_limit_is_a_most_or_a_least(figure: Figure, kept: bool | None, share: float | None) -> None:
    assert (figure.kept, figure.share) == (kept, share)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3.0, "3"), (0.1234, "0.123"), (12.345, "12.3"), (1234.5, "1234"), (1e6, "1000000"), (0.00052, "0.0005")],
)
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_says_what_is_beyond_its_limit() -> None:
    table = markdown(
        [Figure("fast", 1.5, "ms", 5), Figure("slow", 7, "ms", 5), Figure("known", 3, "MiB"), Figure("x", 31, "x", 30, True)]
    )
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
    assert cells[2:] == [
        ["fast", "1.5 ms", "at most 5", "yes"], ["slow", "7 ms", "at most 5", "**no**"], ["known", "3 MiB", "", ""],
        ["x", "31 x", "at least 30", "yes"],
    ]  # fmt: skip
    assert len({len(line) for line in table.splitlines()}) == 1


def test_the_plot_has_a_bar_for_each_limit_and_is_xml() -> None:
    root = ET.fromstring(plot([Figure("a < b", 1, "ms", 2), Figure("no limit", 1, "ms"), Figure("far", 1e9, "ms", 1)], "t & u"))
    bars = [e for e in root if e.tag.endswith("rect")]
    assert len(bars) == 2
    assert all(float(b.attrib["x"]) + float(b.attrib["width"]) < float(root.attrib["width"]) for b in bars)


def test_ports_in_a_row_leave_out_what_is_taken() -> None:
    first = free_ports(3)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first + 1))
        assert listeners(first + 1) == 0
        taken.listen()
        assert listeners(first + 1) == 1
        assert free_ports(3) > first + 1


def _rows(*names: tuple[int, int, str]) -> list[dict[str, str]]:
    return [{"name": f"server-{site}-{n}", "created": created} for site, n, created in names]


def test_a_walk_finds_what_is_missing_twice_or_out_of_order() -> None:
    seen = Seen(2, 3)
    seen.add(_rows((1, 0, "9"), (2, 0, "9"), (2, 1, "8")))
    assert (seen.missing(), seen.twice, seen.disordered) == (3, 0, 0)
    seen.add(_rows((1, 1, "8"), (1, 2, "7"), (2, 2, "7")))
    assert (seen.total, seen.missing(), seen.twice, seen.disordered) == (6, 0, 0, 0)
    seen.add(_rows((1, 1, "8")))
    assert (seen.missing(), seen.twice, seen.disordered) == (0, 1, 1)


def test_a_walk_may_lack_a_site_that_died() -> None:
    seen = Seen(2, 2)
    seen.add(_rows((1, 0, "9"), (1, 1, "8"), (2, 0, "7")))
    assert (seen.missing(), seen.missing(but=2)) == (1, 0)


def test_the_command_line_keeps_the_order_and_knows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    names, sizes = parse(["idle", "page", "--load", "10,20", "--sites", "3"])
    assert names == [n for n in FIGURES if n in ("idle", "page")]
    assert (sizes.load, sizes.sites, sizes.idle) == ((10, 20), 3, 600.0)
    assert parse([])[0] == list(FIGURES)
    with pytest.raises(SystemExit):
        parse(["nothing"])
    assert "no such figure: nothing" in capsys.readouterr().err


async def _opened(url: str) -> None:
    await asyncio.to_thread(Store.migrate, url)
    await (await Store.open(url)).close()


def test_a_database_of_its_own_is_empty_measured_and_gone(tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / "cascade.db-wal").write_bytes(b"left" * n)
        made = database("sqlite", tmp_path)
        made.start()
        assert made.size() == made.cpu() == 0 and made.url.endswith(f"{tmp_path}/cascade.db")
    with pytest.raises(KeyError):
        database("oracle", tmp_path)
    made = database("postgresql", tmp_path)
    made.start()
    try:
        assert made.size() > 1 << 20
        for _ in range(200):  # the kernel counts in steps of 10 ms: how many a database needs to open depends on the machine
            if made.cpu() > 0:
                break
            asyncio.run(_opened(made.url))
        assert made.cpu() > 0
        folder = Path(made.url.partition("host=")[2])
        assert folder.is_dir()
    finally:
        made.stop()
    assert not folder.exists()


def test_the_conditions_say_on_which_database_and_how_many_processes() -> None:
    _, sizes = parse(["load", "--database", "postgresql", "--processes", "2"])
    said = words(conditions(sizes))
    assert "database postgresql" in said and "processes 2" in said and "cores" in said
    assert "processes" not in words(conditions(parse([])[1]))


def test_progress_says_nothing_of_what_is_quick_and_a_line_now_and_then_of_what_is_not() -> None:
    now, said = 0.0, list[str]()
    progress = Progress("pages", 100, clock=lambda: now, out=said.append)
    for now in range(1, 26):
        progress.at(int(now))
    assert said == ["     pages: 10 of 100, 10 s, 90 s to go", "     pages: 20 of 100, 20 s, 80 s to go"]
    now, said = 0.0, []
    progress = Progress("looks", 0, clock=lambda: now, out=said.append)
    now = EVERY
    progress.at(3)
    assert said == ["     looks: 3, 10 s"]


@pytest.mark.parametrize(
    ("known", "there", "once", "wrong"),
    [
        ("ab", "ab", True, {}), ("ab", "a", True, {"lost": 1}), ("a", "ab", True, {"orphaned": 1}),
        ("a", "aa", True, {"doubled": 1}),
        ("b", "aa", True, {"doubled": 1, "orphaned": 1, "lost": 1}), ("aa", "aa", False, {}), ("a", "aaa", False, {"orphaned": 2}),
        ("aa", "a", False, {"lost": 1}),
    ],
)  # fmt: skip
def test_what_users_know_is_held_against_what_sites_have(known: str, there: str, once: bool, wrong: dict[str, int]) -> None:
    assert +compared(Counter(known), Counter(there), once=once) == wrong
