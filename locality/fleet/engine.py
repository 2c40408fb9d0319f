"""Where the questions are answered: DuckDB in this process, or an engine that is there already."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from locality.dataset.schema import SCHEMA, VERSION
from locality.dataset.store import filesystem_of, is_uri
from locality.errors import LocalityError
from locality.fleet import questions
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DUCKDB = "duckdb"
#: What DuckDB may take beside what Python takes.
_MEMORY = "400MB"
#: So many files are read at once: DuckDB keeps what each says of its columns, some 140 kB, beside
#: that memory.
_FILES = 500


def days_of(dataset: str) -> list[date]:
    """The days that a data set has, in order.

    Raises:
        LocalityError: It has none, or cannot be read.
    """
    found = sorted({day for name in _folders(dataset) if (day := _day(name)) is not None})
    if not found:
        raise LocalityError(
            f"{printable(dataset)} is no data set: it has no folder dt=YYYY-MM-DD "
            "(locality export --dataset makes them)"
        )
    return found


def _folders(dataset: str) -> Iterator[str]:
    if not is_uri(dataset):
        try:
            yield from (path.name for path in Path(dataset).iterdir())
        except OSError as error:
            raise LocalityError(f"cannot read {printable(dataset)}: {error.strerror}") from None
        return
    import pyarrow as pa

    filesystem, path = filesystem_of(dataset)
    try:
        infos = filesystem.get_file_info(pa.fs.FileSelector(path))
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise LocalityError(f"cannot read {printable(dataset)}: {said}") from None
    yield from (info.base_name for info in infos)


def _day(name: str) -> date | None:
    if (match := re.fullmatch(r"dt=(\d{4}-\d{2}-\d{2})", unquote(name))) is None:
        return None
    try:
        return date.fromisoformat(match[1])
    except ValueError:
        return None


@contextmanager
def opened(dataset: str, engine: str = DUCKDB) -> Iterator[Engine]:
    """An engine that answers questions about a data set.

    Args:
        dataset: A directory or a URI.
        engine: `duckdb`; `spark://HOST:PORT` or `spark:MASTER`, where MASTER is what Spark calls
            so; or `clickhouse://USER@HOST/DATABASE?table=TABLE`, with the data set as a table.

    Raises:
        LocalityError: There is no such engine, or it cannot be used.
    """
    scheme = engine.partition(":")[0]
    with _answering(scheme):
        if engine == DUCKDB:
            made: Engine = DuckDb(dataset)
        elif scheme == "spark" and engine != scheme:
            made = Spark(dataset, engine)
        elif scheme == "clickhouse" and "//" in engine:
            made = ClickHouse(engine)
        else:
            raise LocalityError(
                f"there is no engine {printable(engine)}: use duckdb, spark://HOST:PORT, "
                "spark:MASTER or clickhouse://USER@HOST/DATABASE?table=TABLE",
                exit_code=2,
            )
    try:
        yield made
    finally:
        made.close()


class Engine:
    """Answers questions; a subclass says where the rows of some days are."""

    def facts(self, days: Sequence[date]) -> Any:  # noqa: ANN401 - a table of ibis
        """The rows of some days, with all columns of the schema.

        Raises:
            LocalityError: They are of a newer version, or the engine refuses.
        """
        with _answering(type(self).__name__):
            table = _in_schema(self._table(days))
        version = self.ask(questions.newest_version(table))[0]["version"]
        if version is not None and version > VERSION:
            raise LocalityError(
                f"the data set has rows of version {int(version)}, this locality reads up to "
                f"version {VERSION}: install a newer one"
            )
        return table

    def ask(self, question: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - of ibis
        """The answer, a dictionary for each row; None where there is no value.

        Raises:
            LocalityError: The engine refuses.
        """
        with _answering(type(self).__name__):
            rows: list[dict[str, Any]] = question.to_pyarrow().to_pylist()
        return rows

    def _table(self, days: Sequence[date]) -> Any:  # noqa: ANN401 - a table of ibis
        raise NotImplementedError

    def close(self) -> None:
        """Let go of it."""


class DuckDb(Engine):
    """DuckDB in this process: nothing to install or run."""

    def __init__(self, dataset: str) -> None:
        import ibis

        self._dataset = dataset
        self._read: dict[str, Any] = {}
        # Opening thousands of files is most of the work: it is done once, and what was read is kept
        # on disk, where it is compressed, for all questions.
        self._folder = TemporaryDirectory(prefix="locality-fleet-")
        path = Path(self._folder.name) / "facts.duckdb"
        self._connection = ibis.duckdb.connect(path, memory_limit=_MEMORY)
        self._connection.raw_sql("SET preserve_insertion_order = false")

    def _table(self, days: Sequence[date]) -> Any:  # noqa: ANN401
        if (name := _named(days)) not in self._read:
            self._read[name] = self._created(days)
        return self._read[name]

    def _created(self, days: Sequence[date]) -> Any:  # noqa: ANN401
        """A table with the rows of the files."""
        if is_uri(self._dataset):
            return self._objects(days)
        root = Path(self._dataset)
        files = sorted(
            str(path) for day in days for path in (root / f"dt={day}").glob("*/*/*.parquet")
        )
        if not files:
            raise nothing(self._dataset, days)
        for first in range(0, len(files), _FILES):
            rows = self._connection.read_parquet(
                [_literal(file) for file in files[first : first + _FILES]],
                union_by_name=True,
                hive_partitioning=False,
            )
            if first:
                self._connection.insert(_named(days), _in_schema(rows))
            else:
                self._connection.create_table(_named(days), _in_schema(rows))
        return self._connection.table(_named(days))

    def _objects(self, days: Sequence[date]) -> Any:  # noqa: ANN401
        """The same of an object store, which pyarrow reads."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        filesystem, path = filesystem_of(self._dataset)
        files = [
            info.path
            for day in days
            for info in filesystem.get_file_info(
                pa.fs.FileSelector(f"{path}/dt={day}", recursive=True, allow_not_found=True)
            )
            if info.is_file and info.extension == "parquet"
        ]
        if not files:
            raise nothing(self._dataset, days)
        table = ds.dataset(files, SCHEMA, format="parquet", filesystem=filesystem)
        self._connection.con.register(f"objects_{_named(days)}", table)
        rows = self._connection.table(f"objects_{_named(days)}")
        return self._connection.create_table(_named(days), rows)

    def close(self) -> None:
        """Let go of it, and of what was read."""
        self._connection.disconnect()
        self._folder.cleanup()


class Spark(Engine):
    """A cluster of Spark, which must be able to read the data set itself."""

    def __init__(self, dataset: str, engine: str) -> None:
        import ibis
        from pyspark.sql import SparkSession

        master = engine if engine.startswith("spark://") else engine.removeprefix("spark:")
        self._dataset = dataset
        if master.startswith("local"):
            # A cluster in this machine is for this machine: without this it listens to others.
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.appName("locality fleet").master(master)
        builder = builder.config("spark.sql.session.timeZone", "UTC")
        builder = builder.config("spark.ui.showConsoleProgress", "false")
        self._session = builder.getOrCreate()
        self._session.sparkContext.setLogLevel("ERROR")
        self._connection = ibis.pyspark.connect(self._session)

    def _table(self, days: Sequence[date]) -> Any:  # noqa: ANN401
        there = [day for day in days if day in days_of(self._dataset)]
        if not there:
            raise nothing(self._dataset, days)
        root = self._dataset if is_uri(self._dataset) else Path(self._dataset).resolve().as_uri()
        paths = [f"{root}/dt={day}/*/*/*.parquet" for day in there]
        frame = self._session.read.option("mergeSchema", "true").parquet(*paths)
        frame.createOrReplaceTempView(_named(days))
        return self._connection.table(_named(days))

    def close(self) -> None:
        """End the session, and with it a cluster that was made for it."""
        self._session.stop()


class ClickHouse(Engine):
    """A table of ClickHouse that has the rows of a data set, whatever its days."""

    def __init__(self, engine: str) -> None:
        import ibis

        parts = urlsplit(engine)
        query = dict(parse_qsl(parts.query))
        self._name = query.pop("table", "facts")
        self._connection = ibis.connect(urlunsplit(parts._replace(query=urlencode(query))))

    def _table(self, days: Sequence[date]) -> Any:  # noqa: ANN401
        return within(self._connection.table(self._name), days)

    def close(self) -> None:
        """Let go of it."""
        self._connection.disconnect()


def within(table: Any, days: Sequence[date]) -> Any:  # noqa: ANN401 - tables of ibis
    """The rows of some consecutive days."""
    import ibis

    first, end = (
        ibis.timestamp(f"{day}T00:00:00", timezone="UTC")
        for day in (min(days), max(days) + timedelta(days=1))
    )
    return table.filter((table["time"] >= first) & (table["time"] < end))


def nothing(dataset: str, days: Sequence[date]) -> LocalityError:
    """The error of days that a data set does not have."""
    when = str(days[0]) if len(days) == 1 else f"{min(days)} to {max(days)}"
    return LocalityError(f"{printable(dataset)} has no files of {when}")


@contextmanager
def _answering(engine: str) -> Iterator[None]:
    """What an engine and the libraries below it raise in the block, as one line.

    Raises:
        LocalityError: With the first line of what the engine said.
    """
    try:
        yield
    except (LocalityError, ImportError, MemoryError):
        raise
    except Exception as error:
        lines = (line for line in str(error).splitlines() if line.strip())
        said = printable(next(lines, type(error).__name__))
        raise LocalityError(f"{printable(engine)} cannot read the data set: {said}") from error


def _in_schema(table: Any) -> Any:  # noqa: ANN401 - tables of ibis
    """The columns of the schema; null where older files have none."""
    import ibis

    types = ibis.Schema.from_pyarrow(SCHEMA)
    missing = {name: ibis.null(types[name]) for name in SCHEMA.names if name not in table.columns}
    return (table.mutate(**missing) if missing else table).select(SCHEMA.names)


def _named(days: Sequence[date]) -> str:
    """A name for the rows of some days."""
    return f"facts_{'_'.join(f'{day:%Y%m%d}' for day in days)}"


def _literal(path: str) -> str:
    """A path as a glob that means itself."""
    return re.sub(r"([*?\[])", r"[\1]", path)
