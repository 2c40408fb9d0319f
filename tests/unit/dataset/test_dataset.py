"""Data sets: what the rows of each kind add up to, and how files are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import locality
from locality.cli import cli
from locality.dataset import schema, store
from locality.dataset.evidence import CELL, evidence
from locality.dataset.facts import DAY, MOST_SERVERS, Facts, Server
from locality.dataset.write import add_recording, folder
from locality.errors import LocalityError
from locality.kinds import KINDS
from locality.recording.reader import Reader
from locality.skb.interval import RX, Flow, Interval
from locality.trial.recording import record
from tests.unit.cost.test_output import SEEN as COST
from tests.unit.recordings import CPUS, accepts, meta, packets
from tests.unit.top.test_output import SEEN as TOP
from tests.unit.trial.test_recording import whole
from tests.unit.udp.test_recording import made_up

RECORDED = Path(__file__).parents[3] / "locality/lab/recorded"
PAGE = Path(__file__).parents[3] / "docs/reference/datasets.md"


def rows(root: Path, part: str) -> list[dict[str, Any]]:
    files = sorted(root.rglob("*.parquet"))
    found = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return [row for row in found if row["part"] == part]


def events(root: Path, *names: str) -> int:
    return sum(row[name] for row in rows(root, schema.COUNT) for name in names or schema.SUMS)


# Bug: events are lost on the way into bins, or counted twice, or at another distance.
def test_accepts_add_up(tmp_path: Path) -> None:
    recording = accepts(tmp_path / "a.arrows", 5000, 0.6, comms=(b"nginx", b"\x1b[31m<b>"), lost=7)
    add_recording(recording, store.store_of(str(tmp_path / "set")))
    frame = locality.load(recording).accepts
    root = tmp_path / "set"
    assert events(root) == len(frame)
    assert events(root, "same_cpu") == (frame.cpu == frame.rxcpu).sum()
    assert events(root, "same_llc") == (frame.distance == "llc").sum()
    assert sum(row["known"] for row in rows(root, schema.EVIDENCE)) == len(frame)
    assert sum(row["lost"] for row in rows(root, schema.PERIOD)) == 7
    with Reader(recording) as reader:
        assert sum(map(len, reader)) == len(frame)
        seconds = ((reader.meta.ended or 0) - reader.meta.started) / 1e9
    assert sum(row["seconds"] for row in rows(root, schema.PERIOD)) == pytest.approx(seconds)
    # What a thread is called is printable, whoever reads it later.
    assert {row["name"] for row in rows(root, schema.COUNT)} == {"nginx", r"\x1b[31m<b>"}


# Bug: packets of older forms, or without a pair of CPUs, are left out.
@pytest.mark.parametrize("seen", [True, False])
def test_packets_add_up(seen: bool, tmp_path: Path) -> None:  # noqa: FBT001
    recording = packets(tmp_path / "p.arrows", 4, 0.7, seen=seen)
    add_recording(recording, store.store_of(str(tmp_path / "set")))
    totals = locality.load(recording).skb_totals
    assert events(tmp_path / "set") == totals.packets.sum()
    assert events(tmp_path / "set", "same_cpu") == totals.local.sum()


# Bugs: packets that are known to have left their CPU, but not for which one, are unknown, and the
# local share is that of the others; sent packets that are not seen hide what is known of received
# ones.
def test_packets_of_which_not_both_cpus_are_known_by_number(tmp_path: Path) -> None:
    matrix = np.zeros((2, CPUS, CPUS), np.int64)
    matrix[RX, 1, 1] = 60
    received, sent = Flow(100, 70, None, None, 5), Flow(40, None, None, 30, 0)
    one = Interval(
        1_790_000_001.0, 1.0, "fentry", 0, received, sent, 0, 0, matrix, (25, 30), (10, 0)
    )
    with KINDS["skb"].recorder.get()(tmp_path / "p.arrows", meta("skb")) as recorder:
        recorder.write(one)
    add_recording(tmp_path / "p.arrows", store.store_of(str(tmp_path / "set")))
    told = {
        row["measure"]: (row["same_cpu"], row["elsewhere"], row["unknown"])
        for row in rows(tmp_path / "set", schema.COUNT)
    }
    assert told == {"packets received": (70, 25, 5), "packets sent": (0, 0, 40)}


# Bug: a kind's contents do not fit its batches.
def test_each_kind_is_added(tmp_path: Path) -> None:
    batches: dict[str, Any] = {"cost": COST, "top": TOP, "udp": made_up(0)}
    for kind, batch in batches.items():
        path = tmp_path / f"{kind}.arrows"
        with KINDS[kind].recorder.get()(path, meta(kind)) as recorder:
            recorder.write(batch)
        written = add_recording(path, store.store_of(str(tmp_path / kind)))
        assert written.files == 1
    assert events(tmp_path / "top") == TOP.readers["reads"].sum()
    udp = made_up(0)
    assert events(tmp_path / "udp") == udp.readers["datagrams"].sum()
    assert events(tmp_path / "udp", "same_cpu") == udp.readers["local"].sum()
    record(whole(), tmp_path / "trial.arrows")
    add_recording(tmp_path / "trial.arrows", store.store_of(str(tmp_path / "trial")))
    assert all(row["low"] <= row["high"] for row in rows(tmp_path / "trial", schema.EFFECT))
    assert rows(tmp_path / "trial", schema.EFFECT)


# Bug: exporting twice doubles the events; or a recording that has grown stays as it was.
def test_a_recording_is_in_it_once(tmp_path: Path) -> None:
    whole_file = (RECORDED / "before.arrows").read_bytes()
    recording, root = tmp_path / "r.arrows", tmp_path / "set"
    recording.write_bytes(whole_file[: len(whole_file) // 2])
    half = add_recording(recording, store.store_of(str(root)))
    before = events(root)
    recording.write_bytes(whole_file)
    full = add_recording(recording, store.store_of(str(root)))
    assert full.recording == half.recording
    with Reader(recording) as reader:
        assert before < events(root) == sum(map(len, reader))
    again = add_recording(recording, store.store_of(str(root)))
    assert (again.files, again.unchanged) == (0, 1)
    assert not [*root.rglob(".*")]


# Bug: a recording that is exported under its own host and then under another one is in the data set
# twice, and its events count twice.
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_recording_has_one_host(scheme: str, tmp_path: Path) -> None:
    recording, root = accepts(tmp_path / "a.arrows", 500, 0.5), tmp_path / "set"
    place = store.store_of(f"{scheme}{root}")
    assert place.elsewhere(("dt=2026-11-20", "cluster=a", "host=b"), "accept-1.parquet") is None
    add_recording(recording, place)
    for cluster, host in (("", "other"), ("eu", None)):
        with pytest.raises(LocalityError, match=r"host=web1/accept-.* would be counted twice"):
            add_recording(recording, place, cluster=cluster, host=host)
    assert events(root) == 500
    assert add_recording(recording, place).unchanged
    for file in root.rglob("*.parquet"):
        file.unlink()
    add_recording(recording, place, host="other")
    assert events(root) == 500


# Bug: a host called ../../etc writes there; or an empty cluster makes a folder that hides.
def test_names_of_folders() -> None:
    assert folder("host", "../x") == "host=%2E%2E%2Fx"
    assert folder("cluster", "") == "cluster=__HIVE_DEFAULT_PARTITION__"


# Bug: a host name, a label or a filter of bytes that are no UTF-8 ends the export with a traceback.
def test_text_that_no_encoding_has(tmp_path: Path) -> None:
    recording = accepts(
        tmp_path / "a.arrows", 10, 0.5, host="web\udcff", label="\udcfe", filter_="comm \udcfd"
    )
    root = tmp_path / "set"
    add_recording(recording, store.store_of(str(root)), cluster="\udcfc")
    row = rows(root, schema.RECORDING)[0]
    assert (row["host"], row["label"], row["filter"]) == (r"web\udcff", r"\udcfe", r"comm \udcfd")
    assert row["cluster"] == r"\udcfc"


# Bug: as root, a link that somebody laid below DIR leads what is written elsewhere.
def test_no_link_is_followed(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "set"
    elsewhere.mkdir()
    recording = RECORDED / "before.arrows"
    add_recording(recording, store.store_of(str(root)))
    (file,) = root.rglob("*.parquet")
    day = next(root.iterdir())
    assert file.stat().st_mode & 0o777 == 0o600
    target = tmp_path / "victim"
    target.write_text("keep")
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(LocalityError, match="cannot write"):
        add_recording(recording, store.store_of(str(root)))
    assert target.read_text() == "keep"
    day.rename(tmp_path / "away")
    day.symlink_to(elsewhere)
    with pytest.raises(LocalityError, match="cannot write"):
        add_recording(recording, store.store_of(str(root)))
    assert not [*elsewhere.iterdir()]


# Bug: an object store gets other files than a directory, or the same ones again.
def test_an_object_store_has_the_same_files(tmp_path: Path) -> None:
    recording = accepts(tmp_path / "a.arrows", 100, 0.6)
    objects = store.Objects(pa.fs.LocalFileSystem(), str(tmp_path / "objects"))
    add_recording(recording, objects, cluster="eu")
    assert not add_recording(recording, objects, cluster="eu").files
    add_recording(recording, store.store_of(str(tmp_path / "set")), cluster="eu")
    here, there = (
        {path.relative_to(tmp_path / root): path.read_bytes() for path in files}
        for root in ("objects", "set")
        for files in [(tmp_path / root).rglob("*.parquet")]
    )
    assert here == there


# Bug: a day's recording becomes as long as its events; or one over midnight is of one day.
def test_bins_become_longer_and_end_at_midnight() -> None:
    facts = Facts()
    server = Server("accepts", "tcp", 80)
    begin = 20_000 * DAY + DAY // 2
    for second in range(0, DAY, 7):
        facts.count(begin + second, server, np.array([1, 0, 0, 0, 0, 0, 1]))
        facts.period(begin + second, "accepts", 7)
    found = [*facts.rows()]
    counts = [(time, row) for time, row in found if row["part"] == schema.COUNT]
    assert len(counts) == DAY // 300
    assert sum(row["same_cpu"] for _, row in counts) == len(range(0, DAY, 7))
    assert all(time % 300 == 0 for time, _ in counts)


# Bug: a recording of half an hour has so few bins that nothing can be said of how its share varies.
@pytest.mark.parametrize("seconds", [20, 70, 140, 300, 500, 1000, 1950, 2500, 4000, 8000, 10_000])
def test_every_recording_has_some_bins(seconds: int) -> None:
    facts = Facts()
    for second in range(seconds):
        facts.period(1_800_000_007 + second, "accepts", 1.0)
    bins = [row["seconds"] for _, row in facts.rows()]
    assert len(bins) >= 16
    assert sum(bins) == seconds


# Bug: a host with thousands of ports makes a file of millions of rows, or events vanish.
def test_servers_are_bounded() -> None:
    facts = Facts()
    for port in range(1000):
        facts.count(1e9, Server("reads", "tcp", port), np.array([1 + (port == 7), *[0] * 6]))
    counts = [row for _, row in facts.rows()]
    assert len(counts) == MOST_SERVERS + 1
    assert sum(row["same_cpu"] for row in counts) == 1001
    assert {7, -1} <= {row["port"] for row in counts}


# Bug: evidence points at another cause; known answers of pairs that can be counted by hand.
def test_evidence() -> None:
    cells = np.array([(1, 0, 1, 30), (1, 2, 1, 10), (2, 1, 0, 50), (2, 1, 3, 10)], CELL)
    assert evidence(cells) == {
        "known": 100,
        "local": 0,
        # RX CPUs 0, 1, 3 received 50, 40, 10; CPUs 0, 1, 2 served 30, 60, 10.
        "by_chance": pytest.approx((50 * 30 + 40 * 60) / 100),
        "no_worker": 10,
        "reachable": 90,
        "mapped": 50 + 30 + 10,
        "busiest": 50,
        "moved": 10,
        "rx_cpus": 3,
        "worker_cpus": 3,
        "threads": 2,
    }


# Bug: the command takes what it cannot do, or writes over a file by accident.
def test_the_command(tmp_path: Path) -> None:
    recording = accepts(tmp_path / "a.arrows", 100, 0.6)
    root = tmp_path / "set"
    run = CliRunner().invoke
    done = run(cli, ["export", "--dataset", str(root), "--host", "a/b", str(recording)])
    assert done.exit_code == 0, done.output
    assert [*root.glob("dt=*/cluster=*/host=a%2Fb/accept-*.parquet")]
    assert (
        "in the data set already"
        in run(cli, ["export", "--dataset", str(root), "--host", "a/b", str(recording)]).output
    )
    for wrong in (
        ["export", str(recording)],
        ["export", "--cluster", "x", str(recording), str(tmp_path / "o.csv")],
        ["export", "--dataset", str(root), "--force", str(recording)],
    ):
        assert run(cli, wrong).exit_code == 2


# Bug: the page describes columns of another version.
def test_columns_are_documented() -> None:
    table = "\n".join(schema.markdown())
    assert table in PAGE.read_text(encoding="utf-8"), table
