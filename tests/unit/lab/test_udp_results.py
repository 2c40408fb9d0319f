"""The UDP experiment's arithmetic, and its results as a table, lines, JSON and a figure."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import click
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.colors import to_hex
from rich.console import Console

from locality import cbpf
from locality.cbpf import evaluate
from locality.cli import cli
from locality.errors import LocalityError
from locality.lab.namespaces import Namespace, Process
from locality.lab.shared_rows import SharedRows
from locality.lab.udp_account import Account, gigabits, parse_udp, payload_of
from locality.lab.udp_cases import Case, Figures, Result, cases, merged
from locality.lab.udp_control import ControlResult
from locality.lab.udp_experiment import UdpLab
from locality.lab.udp_figure import draw, save
from locality.lab.udp_forwarder import CONTROL, DATA, WORKER, Forwarder
from locality.lab.udp_results import (
    UDP_NOTES,
    circumstances,
    control_lines,
    notes,
    result_table,
    to_json,
)
from locality.lab.udp_sender import Sender
from locality.lab.udp_steering import program_of
from locality.lab.udp_traced import Traced

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 80
REFUSED = Result(Case(2, "spread", "one", 1500), None, "no XDP\nhere")


def account(read: tuple[int, ...], drops: tuple[int, ...], link: int = 0) -> Account:
    total = sum(read)
    return Account(total + sum(drops) + link, read, drops, link, total, 0, total)


def figures(counts: Account, *rounds: float, local: int = 0, waited: float = 0) -> Figures:
    known = sum(counts.arrived)
    traced = Traced("fentry", counts.read, counts.buffer_drops, 10, sum(counts.read), 0, known, 0)
    return Figures(0.5, rounds, counts, 0.25, waited, {0: known}, local, known, traced)


EVEN = Result(
    Case(2, "random", "one", 1500), figures(account((500, 300), (0, 200)), 1e5, 3e5, local=250)
)
MANY = Result(
    Case(16, "hash", "many", 3000), figures(account((1_000_000,) * 16, (0,) * 16), 1_234_567.0)
)
LOSSY = Result(Case(1, "hash", "many", 64), figures(account((50,), (25,), 25), 1000.0))


def rendered(*results: Result) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=WIDTH, highlight=False).print(result_table(results))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= WIDTH
    return [line.split() for line in lines[3:]]


def lab(cpus: tuple[int, ...], sender_cpus: tuple[int, ...]) -> UdpLab:
    """A lab of which only the CPUs are asked."""
    nothing = np.zeros(1, WORKER)
    nowhere, nobody = Namespace(0), cast("Process", None)
    sender = Sender(nobody, nothing, nothing)
    return UdpLab(nowhere, nowhere, cpus, sender_cpus, sender, SharedRows(nothing, ""))


# Bug: the size is the payload's, or bits are bytes.
def test_sizes() -> None:
    assert [payload_of(size) for size in (64, 1500, 3000)] == [36, 1472, 2972]
    assert gigabits(1e6, 1500) == 12


# Bugs: a datagram is counted twice or not at all; a difference is taken the wrong way round.
def test_an_account() -> None:
    before = account((10, 20), (1, 2), 4)
    after = Account(200, (50, 60), (11, 12), 14, 110, 3, 106, control=5)
    grown = after.since(before)
    assert grown.sent == 200 - 37
    assert grown.read == (40, 40)
    assert grown.arrived == (50, 50)
    assert grown.link_dropped == 10
    assert grown.unaccounted == 163 - 100 - 10
    assert grown.unaccounted_forwarded == 80 - 76 - 3
    assert before.plus(grown) == after
    assert before.unaccounted == before.unaccounted_forwarded == 0


# Bug: a column of the kernel's table is taken for another.
def test_the_table_of_sockets() -> None:
    text = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
15296: 010012C6:2328 00000000:0000 07 00000000:00000F00 00:00000000 00000000     0        0 41740\
 2 000000008be69e9e 23667
16116: 020012C6:83CA 010012C6:2328 01 00000000:00000000 00:00000000 00000000     0        0 9 2 0 0
"""
    found = parse_udp(text)
    assert [(one.port, one.waiting, one.drops) for one in found.values()] == [
        (9000, 0xF00, 23667),
        (0x83CA, 0, 0),
    ]
    assert list(found) == [41740, 9]


# Bugs: dropped datagrams are no share of a socket's; nothing divided by nothing.
def test_shares_are_of_what_arrived() -> None:
    assert EVEN.figures
    assert EVEN.figures.shares == (50, 50)
    assert EVEN.figures.read_pps == 2e5
    assert EVEN.figures.per_cpu_second == 800 / 0.25
    assert all(map(math.isnan, figures(account((0, 0), (0, 0)), 0.0).shares))


# Bugs: a round replaces another; a steering that was refused in a later round counts as measured.
def test_rounds_are_merged() -> None:
    other = Result(EVEN.case, figures(account((100, 100), (5, 5)), 9e5, local=10))
    both, refused = merged([EVEN, REFUSED, other, REFUSED])
    assert refused == REFUSED
    assert both.figures
    assert both.figures.rounds == (1e5, 3e5, 9e5)
    assert both.figures.read_pps == 3e5
    assert both.figures.account.read == (600, 400)
    assert both.figures.account.buffer_drops == (5, 205)
    assert (both.figures.local, both.figures.known) == (260, 1210)
    assert both.figures.rx_cpus == {0: 1210}
    assert both.figures.traced
    assert both.figures.traced.datagrams == (600, 400)
    assert merged([EVEN, Result(EVEN.case, None, "gone")])[0].refused == "gone"


# Bug: the order is not the one `run` needs: all of one number of sockets, then all of a steering.
def test_cases() -> None:
    found = cases([1, 2], [64, 1500], ["hash", "cpu"], ["many", "one"])
    assert len(found) == len(set(found)) == 16
    assert found[:3] == [
        Case(1, "hash", "many", 64),
        Case(1, "hash", "one", 64),
        Case(1, "cpu", "many", 64),
    ]
    assert [case.sockets for case in found] == [1] * 8 + [2] * 8


# Bugs: a figure under the wrong heading; the widest figures do not fit; a refusal has figures.
def test_the_table() -> None:
    even, many, refused = rendered(EVEN, MANY, REFUSED)
    shares = ["50", "50", "25.0%", "20.0%", "0.0%"]
    assert even == ["2", "1500", "random", "one", "200.0", "2.40", "3", *shares]
    assert many[:6] == ["16", "3000", "hash", "many", "1234.6", "29.63"]
    assert many[7] == "6..6"
    assert refused == ["2", "1500", "spread", "one", "refused"]
    (lossy,) = rendered(LOSSY)
    assert lossy[-2:] == ["25.0%", "25.0%"]
    # Where the workers used no CPU time, there is no rate of it.
    assert EVEN.figures
    idle = Result(EVEN.case, replace(EVEN.figures, cpu_seconds=0.0))
    assert rendered(idle)[0][6] == "?"
    assert max(map(len, UDP_NOTES)) <= WIDTH


# Bugs: a refusal's text breaks out of its line; datagrams that nobody counted are not mentioned, or
# those that the kernel did not take from the sender.
def test_notes() -> None:
    assert EVEN.figures
    missing = Account(1003, (500, 300), (0, 200), 0, 800, 0, 799)
    lost = Result(EVEN.case, figures(missing, 1.0))
    lines = list(notes([REFUSED, REFUSED, lost]))
    assert lines[0] == "spread cannot be used here: no XDP\\nhere"
    assert lines[1].endswith("+3 datagrams sent are not accounted for")
    assert lines[2].endswith("+1 datagrams forwarded are not accounted for")
    assert lines[3] == "the workers read 800 datagrams, locality udp (fentry) 800"
    assert lines[4] == "forwarded 800 datagrams, 799 reached the sink"
    assert len(list(notes([EVEN]))) == 2
    untaken = Result(EVEN.case, figures(replace(account((500, 300), (0, 200)), refused=7), 1.0))
    assert "the kernel took 7 datagrams less than were to be sent" in next(notes([untaken]))
    busy = Result(EVEN.case, figures(account((1, 1), (0, 0)), 1.0, waited=0.5))
    assert list(notes([busy]))[2].startswith("workers ran for 0.2 s and waited 0.5 s for a CPU")


# Bug: a session that loses answers, or reaches two sockets, is said to hold.
def test_control_lines() -> None:
    lines = list(
        control_lines(
            [
                ControlResult("hash", 200, (0, 200), 200),
                ControlResult("random", 200, (90, 110), 200),
                ControlResult("spread", 200, (90, 110), 0),
                ControlResult("payload", 200, (200, 0), 199),
                ControlResult("other", 0, None, 0, "not here"),
            ]
        )
    )[1:]
    assert [line.split()[1] for line in lines[:4]] == ["holds", "BREAKS", "BREAKS", "BREAKS"]
    assert lines[2].endswith("0 of 200 answered: wrong port")
    assert lines[4].split(maxsplit=1)[1] == "cannot be used here: not here"
    assert max(map(len, lines)) <= WIDTH


# Bug: the reader is not told that sender and workers share CPUs, or from where on.
def test_circumstances() -> None:
    assert lab((0, 1), (1,)).shared_from == 2
    assert lab(tuple(range(8)), (7, 6, 5, 4)).shared_from == 5
    assert lab((3,), (3,)).shared_from == 1
    lines = list(circumstances(lab((0, 1), (1,)), flood=False))
    assert "from 2 sockets on" in lines[1]
    assert max(map(len, lines)) <= WIDTH


# Bugs: numpy's numbers or nan, which JSON has not; a refused case has figures.
def test_json() -> None:
    empty = Result(EVEN.case, figures(account((0, 0), (0, 0)), 0.0))
    control = [ControlResult("hash", 200, (0, 200), 200)]
    found = to_json(lab((0, 1), (1,)), [EVEN, REFUSED, empty], control, flood=True)
    read_back = json.loads(json.dumps(found, allow_nan=False))
    even, refused, nothing = read_back["cases"]
    assert even["shares"] == [50, 50]
    assert even["gbit_per_s"] == 2.4
    assert even["buffer_drops"] == [0, 200]
    assert even["unaccounted"] == 0
    assert even["locality_udp"]["datagrams"] == [500, 300]
    assert refused["refused"] == "no XDP\nhere"
    assert "read" not in refused
    assert nothing["shares"] == [None, None]
    assert read_back["control"][0]["one_socket"] is True
    assert read_back["flood"] is True


# Bugs: points joined in the order of measuring; sizes in one panel; a refused case is 0.
def test_the_figure(tmp_path: Path) -> None:
    def measured(sockets: int, size: int, steering: str, pps: float) -> Result:
        counts = account((1,) * sockets, (0,) * sockets)
        return Result(Case(sockets, steering, "one", size), figures(counts, pps))

    results = [measured(n, 1500, "hash", n * 1e5) for n in (3, 1, 2)]
    results += [measured(1, 64, "cpu", 1e5), REFUSED]
    figure = draw(results, shared_from=2)
    small, large, small_cost, large_cost = figure.axes
    assert small_cost.lines
    # One datagram of each socket in a quarter of a CPU second.
    cost = np.asarray(large_cost.lines[0].get_ydata())
    assert cost.tolist() == pytest.approx([0.004, 0.008, 0.012])
    assert small.get_title() == "IP packets of 64 bytes"
    line = next(one for one in large.lines if np.size(one.get_xdata()) == 3)
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx([1.2, 2.4, 3.6])
    assert np.round(np.asarray(line.get_xdata())).tolist() == [1, 2, 3]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["cpu, one flow", "hash, one flow"]
    colours = {to_hex(one.get_color()) for axis in figure.axes for one in axis.lines}
    assert len(colours) == 2
    for name, start in (("a.svg", b"<svg"), ("a.png", b"\x89PNG")):
        save(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(LocalityError, match="cannot write"):
        save(figure, tmp_path / "no" / "a.svg")


# Bug: every steering refused, and the command ends with a traceback instead of its table.
def test_a_figure_of_nothing() -> None:
    assert draw([REFUSED]).axes


# Bugs: of workers that share a CPU none gets its datagrams; keep-alives go to a data socket.
def test_programs() -> None:
    forwarder = Forwarder(cast("Process", None), (0, 1, 0, 1), np.zeros(4, WORKER))
    by_cpu = program_of("cpu", forwarder)
    assert [evaluate(by_cpu, cbpf.Packet(cpu=cpu)) for cpu in (0, 1)] == [0, 1]
    payload = program_of("payload", forwarder)
    assert evaluate(payload, cbpf.Packet(payload=bytes([CONTROL, 1]), random=7)) == 0
    assert evaluate(payload, cbpf.Packet(payload=bytes([DATA, 1]), random=7)) != 0
    with pytest.raises(LocalityError, match="no program steers by luck"):
        program_of("luck", forwarder)


# Bug: sizes that hold no header, or that no veth takes, or a file that cannot be written, are found
# out when half is measured.
@pytest.mark.parametrize(
    "arguments",
    [
        "--size 63",
        "--size 3001",
        "--workers 0",
        "--seconds 0",
        "--figure /no/such/a.svg",
        "--output /no/such/a.json",
    ],
)
def test_usage_errors(arguments: str) -> None:
    done = CliRunner().invoke(cli, ["lab", "udp", *arguments.split()])
    assert done.exit_code == 2
    assert arguments.partition(" ")[0] in done.output


# Bug: a traceback, or half a lab, for a user who is not root.
def test_only_root_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = CliRunner().invoke(cli, ["lab", "udp"])
    assert isinstance(done.exception, LocalityError)
    assert "run it with sudo" in str(done.exception)


# Bug: the demo moved away from where people know it.
def test_the_demo_is_in_both_places() -> None:
    with click.Context(cli) as context:
        lab_group, demo = (cli.get_command(context, name) for name in ("lab", "demo"))
    assert demo is not None
    assert lab_group.commands["demo"] is demo  # type: ignore[union-attr]
