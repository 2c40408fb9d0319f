"""Whether two engines answer the questions of `locality fleet` alike.

    python -m benchmarks.fleet_data DIR --hosts 1000
    python -m validation.fleet_engines DIR --engine spark:local-cluster[2,1,1024]
    python -m validation.fleet_engines DIR --engine chdb

Each question is asked of DuckDB and of the other engine, and all rows are compared; numbers may
differ by 1e-9 of themselves, for sums of floats depend on their order. `chdb` is ClickHouse in this
process (package chdb): it is given the SQL that Ibis makes for ClickHouse.

Not part of `make test`: Spark takes 300 MB and a Java.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from locality.dataset.schema import SCHEMA
from locality.fleet import questions
from locality.fleet.engine import DUCKDB, Engine, days_of, opened
from locality.fleet.study import Asked, study

QUESTIONS = ("shares", "servers", "periods", "evidence", "prices", "hosts", "effects")

Rows = list[dict[str, Any]]


class Chdb(Engine):
    """ClickHouse as a library."""

    def __init__(self, root: Path) -> None:
        import chdb

        self._query, self._root = chdb.query, root

    def facts(self, days: Any) -> Any:  # noqa: ANN401
        """A table whose rows the query itself finds."""
        import ibis

        del days
        return ibis.table(ibis.Schema.from_pyarrow(SCHEMA), name="facts")

    def ask(self, question: Any) -> Rows:  # noqa: ANN401
        """The answer to the SQL that Ibis makes."""
        import ibis
        import pyarrow as pa

        sql = str(ibis.to_sql(question, dialect="clickhouse"))
        types = ", ".join(f"{field.name} {_TYPES[str(field.type)]}" for field in SCHEMA)
        pattern = f"{self._root}/dt=*/*/*/*.parquet"
        source = f"SELECT * FROM file('{pattern}', Parquet, '{types}')"  # noqa: S608
        sql = f"WITH facts AS ({source}) {_nested(sql)}"
        settings = "SETTINGS use_hive_partitioning = 0, session_timezone = 'UTC'"
        raw = self._query(f"{sql} {settings}", "ArrowStream").bytes()
        rows: Rows = pa.ipc.open_stream(raw).read_all().to_pylist()
        return [{name: _text(value) for name, value in row.items()} for row in rows]


_TYPES = {
    "uint8": "Nullable(UInt8)",
    "int32": "Nullable(Int32)",
    "int64": "Nullable(Int64)",
    "double": "Nullable(Float64)",
    "bool": "Nullable(Bool)",
    "string": "Nullable(String)",
    "timestamp[us, tz=UTC]": "Nullable(DateTime64(6, \\'UTC\\'))",
}


def _nested(sql: str) -> str:
    """Two lists of WITH as one."""
    return f", {sql[5:]}" if sql.startswith("WITH ") else sql


def _text(value: Any) -> Any:  # noqa: ANN401
    return value.decode() if isinstance(value, bytes) else value


def alike(one: Any, other: Any) -> bool:  # noqa: ANN401 - of a row
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def in_order(rows: Rows) -> Rows:
    names = (
        "cluster",
        "host",
        "kind",
        "measure",
        "protocol",
        "port",
        "name",
        "recording",
        "outcome",
    )
    return sorted(rows, key=lambda row: tuple(str(row.get(name)) for name in names))


def differences(one: Rows, other: Rows) -> int:
    """How many rows are not alike."""
    pairs = zip(in_order(one), in_order(other), strict=False)
    different = sum(
        row.keys() != also.keys() or not all(alike(row[name], also[name]) for name in row)
        for row, also in pairs
    )
    return different + abs(len(one) - len(other))


def asked_of(engine: Engine, root: str) -> dict[str, Rows]:
    found = {}
    facts = engine.facts(days_of(root)[-1:])
    for question in QUESTIONS:
        began = time.monotonic()
        found[question] = engine.ask(getattr(questions, question)(facts))
        print(f"  {question}: {len(found[question])} rows, {time.monotonic() - began:.1f} s")
    return found


def report(engine: Engine, root: str) -> list[tuple[str, str | None]]:
    """The hosts in the order of the report, each with its cause."""
    days = days_of(root)[-1:]
    found = study(engine, Asked(tuple(days)), days)
    return [(host.name, host.cause and host.cause.name) for host in found.hosts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("--engine", required=True)
    asked = parser.parse_args()
    print(DUCKDB)
    with opened(asked.root) as engine:
        one, first = asked_of(engine, asked.root), report(engine, asked.root)
    print(asked.engine)
    chdb = asked.engine == "chdb"
    with (
        nullcontext(Chdb(Path(asked.root))) if chdb else opened(asked.root, asked.engine) as engine
    ):
        other, second = asked_of(engine, asked.root), report(engine, asked.root)
    wrong = {question: differences(one[question], other[question]) for question in QUESTIONS}
    print(f"rows that differ: {wrong}")
    print(f"the same order of hosts with the same causes: {first == second}")
    right = True
    if (path := Path(asked.root) / "planted.json").exists():
        planted = json.loads(path.read_text())
        for name, ranked in ((DUCKDB, first), (asked.engine, second)):
            right &= dict(ranked[: len(planted)]) == planted
            print(f"{name}: the {len(planted)} planted hosts come first with their cause: {right}")
    sys.exit(any(wrong.values()) or first != second or not right)


if __name__ == "__main__":
    main()
