"""The exporter as Prometheus meets it: what it counts, what it gives away, what it keeps."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from locality import cbpf
from locality.accept import source as accept
from locality.accept.counts import AcceptCounts
from locality.attach_cbpf import attach
from locality.exporter.latency import Latency
from locality.exporter.measures import Accepts
from locality.exporter.metrics import PortLabels
from locality.exporter.run import KEPT
from locality.exporter.share_interval import FEWEST
from locality.exporter.state import MachineState
from locality.exporter.windows import Windows
from locality.filter import Wanted
from locality.machine import topology
from locality.machine.capabilities import NEEDS
from locality.skb import source as skb
from locality.skb.source import SkbSource
from tests.live.helpers.commands import tracing
from tests.live.helpers.rungs import parametrize, skip_without_atomics
from tests.live.helpers.traffic import (
    HERE,
    PATIENCE,
    ROUND_TRIPS,
    THERE,
    connect_and_accept,
    tcp_ping_pong,
)
from tests.live.output.test_privileges import mask, of_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from locality.bpf.ladder import Rung
    from tests.live.helpers.rungs import Source

pytestmark = [pytest.mark.live, pytest.mark.chosen]


@pytest.fixture(scope="module", autouse=True)
def accepts_are_counted() -> None:
    """Skip where the kernel cannot count them."""
    skip_without_atomics(lambda: AcceptCounts(topology.read()))


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


def total(series: Series, name: str, **labels: str) -> float:
    return sum(
        value
        for (other, all_labels), value in series.items()
        if other == name and labels.items() <= all_labels
    )


@contextmanager
def exporting(directory: Path, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An exporter that listens, and where; a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tracing(directory, "exporter", "--listen", address, *arguments) as process:
        yield process, f"http://{address}/metrics"


def scrape(url: str) -> Series:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - ours
        return parsed(answer.read().decode())


def accept_counts(rung: str) -> AcceptCounts:
    return AcceptCounts(topology.read(), rung=rung)


LADDERS: dict[str, tuple[Source, Sequence[Rung]]] = {
    "test_accepts_are_those_of_the_accept_command": (accept_counts, accept.RUNGS),
    "test_packets_add_up_over_scrapes": (SkbSource, skb.RUNGS),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (ladder := LADDERS.get(metafunc.function.__name__)) is not None:
        parametrize(metafunc, *ladder)


def probe_types(series: Series) -> dict[str, str]:
    """The probe type of each measurement, as the exporter says."""
    (info,) = [dict(labels) for name, labels in series if name == "locality_info"]
    return info


# Bugs: the exporter counts other connections than `locality accept`, or at another distance; a
# series of a port that was not asked for; another probe type than the one that was asked for.
def test_accepts_are_those_of_the_accept_command(tmp_path: Path, rung: str) -> None:
    (tmp_path / "accept").mkdir()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        socket.create_server(("127.0.0.1", 0), backlog=128) as other,
    ):
        port = str(listener.getsockname()[1])
        asked = ("--measure", "accepts", "--rung", rung)
        accept = ("accept", "--port", port, "--json")
        with (
            exporting(tmp_path, *asked, "--port", port) as (_, url),
            tracing(tmp_path / "accept", *accept) as process,
        ):
            connect_and_accept(listener, 40, client_cpus=(HERE, HERE, THERE))
            connect_and_accept(other, 5)
            series = scrape(url)
            process.send_signal(signal.SIGINT)
            lines, _ = process.communicate(timeout=PATIENCE)
    records = [json.loads(line) for line in lines.splitlines()]
    accepts = [record for record in records if "rxcpu" in record]
    local = sum(record["cpu"] == record["rxcpu"] for record in accepts)
    assert len(accepts) == 40
    assert probe_types(series)["accepts"] == rung
    assert value(series, "locality_accepts_total", port=port, distance="cpu") == local
    assert total(series, "locality_accepts_total") == len(accepts)
    assert value(series, "locality_accept_wait_seconds_count") == len(accepts)
    assert value(series, "locality_events_lost_total", probe="accepts") == 0


# Bugs: packets are counted again at each scrape, or only those since the one before.
@pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU")
def test_packets_add_up_over_scrapes(tmp_path: Path, rung: str) -> None:
    labels = {"direction": "rx", "outcome": "consumed"}
    with exporting(tmp_path, "--measure", "packets", "--rung", rung) as (_, url):
        found = [scrape(url)]
        for _ in range(2):
            tcp_ping_pong(HERE, THERE, ROUND_TRIPS)
            found.append(scrape(url))
    assert probe_types(found[0])["packets"] == rung
    counts = [total(series, "locality_packets_total", **labels) for series in found]
    local = [total(series, "locality_packets_total", **labels, distance="cpu") for series in found]
    for place in (1, 2):
        grown = counts[place] - counts[place - 1]
        # Two packets of data a round trip; others may pass meanwhile.
        assert grown >= 2 * ROUND_TRIPS
        assert grown - (local[place] - local[place - 1]) >= 2 * ROUND_TRIPS * 0.9
        assert local[place] >= local[place - 1]


# Bugs: names or types that Prometheus warns of; more series than announced; a name of a process, a
# user or an address in a label.
@pytest.mark.skipif(shutil.which("promtool") is None, reason="limitation: no promtool here")
def test_what_promtool_says(tmp_path: Path) -> None:
    with (
        exporting(tmp_path) as (_, url),
        urllib.request.urlopen(url, timeout=PATIENCE) as answer,  # noqa: S310 - ours
    ):
        text = answer.read().decode()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) <= 300
    labels = {pair for line in samples for pair in re.findall(r'(\w+)="([^"]*)"', line)}
    for name, text_of in labels:
        known = r"[a-z_-]+" if name not in {"port", "le", "kernel", "version"} else r"[\w.+:~-]+"
        assert re.fullmatch(known, text_of), (name, text_of)


# Bugs: the file is not there when the probes are attached, or is not written again.
def test_the_file_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "locality.prom"
    arguments = ("exporter", "--measure", "accepts", "--textfile", file, "--interval", "0.05")
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        tracing(tmp_path, *arguments),
    ):
        port = str(listener.getsockname()[1])
        connect_and_accept(listener, 7)
        deadline = time.monotonic() + PATIENCE
        while not (
            file.exists()
            and total(parsed(file.read_text()), "locality_accepts_total", port=port) == 7
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # It listens nowhere unless asked to.
        assert file.stat().st_uid == os.getuid()


# Bugs: probes stay attached between windows, or count what happened there; what was counted in one
# window is counted in the next one, too.
def test_windows_count_what_happens_in_them() -> None:
    machine = topology.read()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        accepts = Accepts(machine, Wanted(ports=(port,)))
        try:
            windows = Windows([accepts], threading.Lock(), 0.1, 1.0, pytest.fail)
            programs = accepts.attachments[0].obj
            for _ in range(FEWEST):
                assert programs.attached == ()
                connect_and_accept(listener, 3)
                windows.window(lambda _seconds: connect_and_accept(listener, 4, accept_cpu=HERE))
            families = {family.name: family for family in windows.families(PortLabels(1))}
        finally:
            accepts.close()
    assert accepts.shares() == {"accepts": (4 * FEWEST, 4 * FEWEST)}
    assert families["locality_windows"].samples[0].value == FEWEST
    ends = {one.labels["bound"]: one.value for one in families["locality_local_ratio"].samples}
    assert ends["estimate"] == ends["upper"] == 1.0
    assert 0.7 < ends["lower"] < 1.0


# Bugs: the duty-cycled exporter never attaches, or gives up what it takes to attach.
def test_duty_from_the_command_line(tmp_path: Path) -> None:
    arguments = ("--measure", "accepts", "--duty", "50%", "--window", "0.05", "--no-findings")
    with exporting(tmp_path, *arguments) as (process, url):
        deadline = time.monotonic() + PATIENCE
        while value(series := scrape(url), "locality_windows_total") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert value(series, "locality_attached_seconds_total") >= 3 * 0.05
    assert "refused" not in said
    assert process.returncode == 0


# Bugs: packets stay stamped after a window; times of one window are in no metric.
def test_latency_in_windows() -> None:
    machine, ports = topology.read(), PortLabels(1)
    latency = Latency(machine, Wanted())
    try:
        windows = Windows([latency], threading.Lock(), 0.1, 1.0, pytest.fail)
        windows.window(lambda _seconds: tcp_ping_pong(HERE, THERE, 100))
        families = {family.name: family for family in latency.families(ports)}
        assert latency.attachments[0].obj.attached == ()
    finally:
        latency.close()
    samples = families["locality_receive_latency_seconds"].samples
    counted = sum(one.value for one in samples if one.name.endswith("_count"))
    assert counted >= 100


# Bug: a program that somebody attaches is not noticed, or not with what was there before.
def test_a_change_is_noticed() -> None:
    told: list[str] = []
    state = MachineState(threading.Lock(), None, None, told.append)
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as one,
        socket.create_server(one.getsockname(), reuse_port=True),
    ):
        state.refresh()
        attach(os.getpid(), one.fileno(), cbpf.cpu(2))
        state.refresh()
        families = {family.name: family for family in state.families(PortLabels(1))}
        port = one.getsockname()[1]
    (line,) = [line for line in told if f":{port} " in line]
    assert "program: none -> cpu % 2" in line
    changes = {
        (one.labels["kind"], one.labels["cause"]): one.value
        for one in families["locality_changes"].samples
    }
    assert changes["program", "unknown"] >= 1


# Bug: threads that answer strangers keep what it took to attach.
def test_what_the_threads_may_do(tmp_path: Path) -> None:
    with exporting(tmp_path, "--measure", "accepts") as (process, url):
        scrape(url)
        deadline = time.monotonic() + PATIENCE
        # The main thread gives up the last ones just after it said that it is ready.
        while True:
            held = sorted(int(status["CapEff"], 16) for status in of_threads(process.pid).values())
            if held == [mask(KEPT), mask(KEPT), mask(NEEDS["doctor"])]:
                break
            assert time.monotonic() < deadline, held
            time.sleep(0.02)
