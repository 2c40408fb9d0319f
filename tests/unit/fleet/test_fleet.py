"""`locality fleet` on data sets that are made up, by DuckDB."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from locality.cli import cli
from locality.dataset.schema import COUNT, EFFECT, EVIDENCE, PERIOD, RECORDING, SCHEMA
from locality.dataset.write import folder
from locality.fleet import engine
from locality.fleet.causes import Cause

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("ibis")
pytest.importorskip("duckdb")
#: What Ibis calls in DuckDB is about to have another name.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

DAY, WEEK_BEFORE = "2026-11-20", "2026-11-13"
HOSTILE = "<script>\x1b[2J"


# Bug: a number of days that leads to a date before the first one is a traceback.
@pytest.mark.parametrize("option", ["--days", "--since"])
def test_days_before_the_first(tmp_path: Path, option: str) -> None:
    (tmp_path / f"dt={DAY}").mkdir()
    for days in ("999999", "99999999999999999999"):
        done = CliRunner().invoke(cli, ["fleet", str(tmp_path), option, days])
        assert done.exit_code == 2, done.output
        assert "before the year 1" in done.output


def host(
    root: Path, name: str, local: float, day: str = DAY, *, rows: list[dict[str, Any]] | None = None
) -> None:
    """A day of one host, 100 accepts a second, of which such a share is local."""
    times = [pa.scalar(1_763_000_000 + 300 * place, pa.timestamp("s")) for place in range(48)]
    of_all = {
        "version": 1,
        "recording": f"{name}{day}",
        "cluster": "eu",
        "host": name,
        "kind": "accept",
        "measure": "accepts",
    }
    server = {"protocol": "tcp", "port": 80, "outgoing": False, "name": "nginx"}
    made: list[dict[str, Any]] = [{"part": RECORDING, "time": times[0].as_py(), "cpus": 8}]
    for place, time in enumerate(times):
        made.append({"part": PERIOD, "time": time.as_py(), "seconds": 300.0, "lost": 0})
        here = round(30_000 * local) + (100 if place % 2 else -100) * (0 < local < 1)
        counts = dict.fromkeys(("same_core", "same_node", "other_node", "unknown", "elsewhere"), 0)
        counts |= {"same_cpu": here, "same_llc": 30_000 - here}
        made.append({"part": COUNT, "time": time.as_py(), **server, **counts})
    known = 48 * 30_000
    made.append(
        {
            "part": EVIDENCE,
            "time": times[0].as_py(),
            **server,
            "known": known,
            "local": int(known * local),
            "by_chance": known / 8,
            "no_worker": 0,
            "reachable": known,
            "mapped": int(known * max(local, 1 / 8)),
            "moved": 0,
            "busiest": known // 8,
            "rx_cpus": 8,
            "worker_cpus": 8,
            "threads": 8,
        }
    )
    made += rows or []
    below = root / f"dt={day}" / folder("cluster", "eu") / folder("host", name)
    below.mkdir(parents=True)
    table = pa.Table.from_pylist([of_all | row for row in made], SCHEMA)
    pq.write_table(table, below / "accept-0.parquet")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["fleet", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def said(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


# Bug: hosts are ranked the wrong way round, or shares, rates and causes are of another host.
def test_hosts_are_ranked(tmp_path: Path) -> None:
    for name, local in (("good", 0.99), ("bad", 1 / 8), ("worse", 0.0), ("best", 1.0)):
        host(tmp_path, name, local)
    found = said(str(tmp_path))
    assert [one["host"] for one in found["hosts"]] == ["worse", "bad", "good", "best"]
    bad = found["hosts"][1]
    assert bad["local"] == pytest.approx(12.5)
    assert bad["rate"] == pytest.approx(100)
    assert bad["back_per_second"]["value"] == pytest.approx(87.5)
    assert bad["local_low"] < 12.5 < bad["local_high"]
    assert bad["cause"] == "no_program"
    assert found["changes"] is None
    assert said(str(tmp_path), "--by", "local")["hosts"][-1]["host"] == "best"


# Bugs: the command for a cause lacks the port, and is refused; it is that of another server;
# "1 hosts".
def test_the_command_has_the_port(tmp_path: Path) -> None:
    host(tmp_path, "web1", 1 / 8)
    (cause,) = said(str(tmp_path))["causes"]
    assert cause["command"] == "locality attach-cbpf --port 80 --map auto"
    text = run(str(tmp_path))
    assert "    locality attach-cbpf --port 80 --map auto\n" in text
    assert text.startswith("1 host, ")
    page = run(str(tmp_path), "--format", "html")
    assert "locality attach-cbpf --port 80 --map auto" in page
    assert "1 hosts" not in page + text
    assert Cause.OTHER.remedy(443) == "locality explain --port 443"
    assert Cause.NO_PROGRAM.remedy(None) == "locality top"
    assert Cause.ONE_RX_CPU.remedy(80) == "locality doctor"


# Bug: the wrong week is compared, or every host is said to have changed.
def test_changes_since_last_week(tmp_path: Path) -> None:
    for name, before, after in (("same", 0.9, 0.9), ("worse", 0.9, 0.5), ("better", 0.5, 0.9)):
        host(tmp_path, name, before, WEEK_BEFORE)
        host(tmp_path, name, after)
    host(tmp_path, "gone", 0.9, WEEK_BEFORE)
    host(tmp_path, "new", 0.9)
    changes = said(str(tmp_path))["changes"]
    assert [one["host"] for one in changes["worse"]] == ["worse"]
    assert [one["host"] for one in changes["better"]] == ["better"]
    assert changes["worse"][0]["points"] == pytest.approx(-40)
    assert (changes["compared"], changes["new"], changes["gone"]) == (3, 1, 1)


def effect(estimate: float) -> dict[str, Any]:
    return {
        "part": EFFECT,
        "kind": "trial",
        "measure": None,
        "target": "port 80",
        "time": datetime(2026, 11, 20, tzinfo=UTC),
        "arm_a": "as it is",
        "arm_b": "nearest",
        "outcome": "queue_wait",
        "unit": "us",
        "better": "lower",
        "scale": "relative",
        "estimate": estimate,
        "low": estimate - 0.1,
        "high": estimate + 0.1,
        "units": 100,
        "verdict": "better",
        "recording": f"{estimate}",
    }


# Bug: trials of several hosts are not put together, or what differs between hosts is not said.
def test_trials_are_combined(tmp_path: Path) -> None:
    for number, estimate in enumerate((-0.5, -0.3, -0.1)):
        host(tmp_path, f"web{number}", 0.9, rows=[effect(estimate)])
    (found,) = said(str(tmp_path))["trials"]
    assert (found["hosts"], found["trials"]) == (3, 3)
    assert found["combined"]["mean"] == pytest.approx(-0.3)
    assert found["combined"]["i2"] > 90
    assert "I²" in run(str(tmp_path))


# Bug: the name of a host is markup on the page, or moves the cursor.
def test_names_are_data(tmp_path: Path) -> None:
    host(tmp_path, HOSTILE, 0.1)
    page = tmp_path / "page.html"
    run(str(tmp_path), "-o", str(page))
    html = page.read_text(encoding="utf-8")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html + run(str(tmp_path))
    assert page.stat().st_mode & 0o777 == 0o600


# Bug: files of an older version are refused, or those of a newer one read as if they were known.
def test_versions(tmp_path: Path) -> None:
    host(tmp_path, "web1", 0.5)
    (file,) = tmp_path.rglob("*.parquet")
    table = pq.ParquetFile(file).read()
    pq.write_table(table.drop_columns(["program", "kernel"]), file)
    assert said(str(tmp_path))["hosts"][0]["cause"] == "other"
    newer = pa.array([9] * len(table), pa.uint8())
    pq.write_table(table.set_column(0, SCHEMA.field("version"), newer), file)
    done = CliRunner().invoke(cli, ["fleet", str(tmp_path)])
    assert "version 9" in str(done.exception)


# Bug: of files that are read in several goes only the first or the last ones count, or columns
# change places where the first file has others than the rest.
def test_files_are_read_in_several_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        host(tmp_path, f"web{number}", number / 8)
    file = min(tmp_path.rglob("*.parquet"))
    pq.write_table(pq.ParquetFile(file).read().drop_columns(["kernel", "cpus"]), file)
    at_once = said(str(tmp_path))
    monkeypatch.setattr(engine, "_FILES", 2)
    assert said(str(tmp_path)) == at_once
    assert len(at_once["hosts"]) == 5


# Bug: a file that is none, in a directory or behind a URI, ends in a traceback.
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_damaged_file(tmp_path: Path, scheme: str) -> None:
    host(tmp_path, "web1", 0.5)
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    done = CliRunner().invoke(cli, ["fleet", f"{scheme}{tmp_path}"])
    assert type(done.exception).__name__ == "LocalityError"
    assert "cannot read the data set" in str(done.exception)


# Bug: what is no data set, or is not there, ends in a traceback.
@pytest.mark.parametrize("place", ["missing", "empty"])
def test_no_data_set(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(cli, ["fleet", str(tmp_path / place)])
    assert type(done.exception).__name__ == "LocalityError"


# Bug: a file that somebody else wrote, with nulls or infinities where numbers must be, ends in a
# TypeError or in JSON that is none; the line does not say whose file it is.
@pytest.mark.parametrize(
    ("part", "column", "value"),
    [
        (COUNT, "same_cpu", None),
        (COUNT, "port", None),
        (COUNT, "name", None),
        (COUNT, "time", None),
        (EVIDENCE, "known", None),
        (EVIDENCE, "worker_cpus", None),
        (PERIOD, "seconds", None),
        (PERIOD, "seconds", float("nan")),
        (EFFECT, "estimate", None),
        (EFFECT, "low", float("-inf")),
        (EFFECT, "high", 1e308),
        (EFFECT, "outcome", None),
        (RECORDING, "cluster", None),
    ],
)
def test_rows_that_no_export_wrote(
    tmp_path: Path, part: str, column: str, value: float | None
) -> None:
    host(tmp_path, "web1", 0.5, rows=[effect(-0.5)])
    host(tmp_path, "web2", 0.5, rows=[effect(-0.4)])
    assert run(str(tmp_path), "--json")
    file = next(tmp_path.rglob("host=web2/*.parquet"))
    rows = pq.ParquetFile(file).read().to_pylist()
    for row in rows:
        if row["part"] == part:
            row[column] = value
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)
    for form in ("text", "json", "html"):
        done = CliRunner().invoke(cli, ["fleet", str(tmp_path), "--format", form])
        assert type(done.exception).__name__ == "LocalityError", done.exception
        assert "web2 have no value in" in str(done.exception)
        assert column in str(done.exception)
        assert "\n" not in str(done.exception)
