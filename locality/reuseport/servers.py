"""What servers call the settings that decide who serves a connection: one table, by program.

Advice names the setting of the server in front of it. A program that is not in the table gets
what holds for every server.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECTION_BYTES = 64  # sizeof(Elf64_Shdr)
_PINNED_FROM_OUTSIDE = "one process for each CPU, with CPUAffinity= of its systemd unit"


class Server(NamedTuple):
    """A server's settings, as its configuration spells them.

    Attributes:
        name: How messages call it.
        own: Gives each worker a listening socket of its own.
        pins: Pins each worker to a CPU.
        workers: How many workers there are.
        together: Lets the thread that accepts a connection also read it; empty if it always does,
            or if there is no such setting.
    """

    name: str = "the server"
    own: str = (
        "a listening socket for each worker, by a setting of the server, or by one systemd socket "
        "with ReusePort=yes for each process"
    )
    pins: str = _PINNED_FROM_OUTSIDE
    workers: str = "the number of workers"
    together: str = ""


UNKNOWN = Server()
"""A server of which nothing is known."""

_NGINX = Server(
    "nginx", "nginx: listen ... reuseport", "nginx: worker_cpu_affinity auto", "worker_processes"
)
_APACHE = Server(
    "apache",
    "apache: ListenCoresBucketsRatio 1",
    together="apache: mpm_prefork, in which the process that accepts also serves",
)
_GO = Server(
    "a Go program",
    "one process for each CPU: GOMAXPROCS=1, pinned, a listener with SO_REUSEPORT "
    "(net.ListenConfig.Control)",
    workers="GOMAXPROCS",
)

#: By the name of the program.
SERVERS = {
    "nginx": _NGINX,
    "openresty": _NGINX,
    "haproxy": Server(
        "haproxy",
        "haproxy: bind ... shards by-thread",
        "haproxy: cpu-map",
        "nbthread",
        together="haproxy: tune.listener.multi-queue off",
    ),
    "apache2": _APACHE,
    "httpd": _APACHE,
    "unbound": Server("unbound", "unbound: so-reuseport: yes", workers="num-threads"),
    "knotd": Server("knot", "knot: tcp-reuseport: on", workers="udp-workers, tcp-workers"),
    "nsd": Server("nsd", "nsd: reuseport: yes", "nsd: server-1-cpu-affinity", "server-count"),
    "named": Server("named", "named: reuseport yes", workers="named -n"),
    "pdns_recursor": Server(
        "pdns_recursor",
        "pdns_recursor: reuseport=yes and pdns-distributes-queries=no",
        "pdns_recursor: cpu-map",
        "threads",
    ),
    "dnsdist": Server(
        "dnsdist",
        "dnsdist: addLocal(..., {reusePort=true}) once for each thread",
        "dnsdist: addLocal(..., {cpus={...}})",
        "the number of addLocal lines",
    ),
    "memcached": Server(
        "memcached",
        "one memcached -t 1 for each CPU, each on a port of its own",
        workers="memcached -t",
    ),
    "redis-server": Server(
        "redis",
        "one redis for each CPU, each on a port of its own",
        "redis: server_cpulist",
        "io-threads",
    ),
    "h2o": Server("h2o", "h2o: tcp-reuseport: ON", workers="num-threads"),
    "envoy": Server("envoy", "envoy: enable_reuse_port: true", workers="envoy --concurrency"),
    "lighttpd": Server(
        "lighttpd",
        "lighttpd: one for each CPU, each with a systemd socket of its own (ReusePort=yes), for "
        "server.max-worker shares one listener",
        workers="server.max-worker",
    ),
    "gunicorn": Server(
        "gunicorn", "one gunicorn --workers 1 --reuse-port for each CPU", workers="--workers"
    ),
    "uvicorn": Server(
        "uvicorn",
        "uvicorn --workers shares one listener: one process for each CPU, such as gunicorn "
        "--workers 1 --reuse-port -k uvicorn.workers.UvicornWorker",
        workers="--workers",
    ),
    "node": Server(
        "node",
        "node: server.listen({reusePort: true}) in each process (Node.js 23.1)",
        workers="the number of cluster.fork()",
        together="node: NODE_CLUSTER_SCHED_POLICY=none",
    ),
}


#: Whether programs are Go programs; a thousand workers may run one.
_IS_GO: dict[tuple[int, int, int], bool] = {}


def server_of(pid: int, proc: Path = Path("/proc")) -> Server:
    """The server that a process is, by its program, its name, or what its command line begins with.

    A worker that is known by none of these may have been started by a process of the same program
    that is. Of a process that has ended, or may not be looked into, nothing is known.
    """
    for process in (proc / str(pid), _parent_of_same_program(pid, proc)):
        for name in _names(process) if process else ():
            if (server := SERVERS.get(name)) is not None:
                return server
    if moves_between_threads(pid, proc):
        return _GO
    # By the name that `top`, `groups` and ps show, where /proc tells it: its program's file may be
    # called otherwise (python3.11 is python3).
    name = _comm(proc / str(pid)) or next(_names(proc / str(pid)), "")
    return Server(printable(name)) if name else UNKNOWN


def moves_between_threads(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process is a Go program, whose goroutines accept on whichever thread is free."""
    program = f"{proc}/{pid}/exe"
    with suppress(OSError, ValueError):  # it has ended, or its file is damaged
        file = os.stat(program)  # noqa: PTH116 - of every worker
        which = (file.st_dev, file.st_ino, file.st_mtime_ns)
        if which not in _IS_GO:
            _IS_GO[which] = _has_section(Path(program), b".go.buildinfo")
        return _IS_GO[which]
    return False


def _parent_of_same_program(pid: int, proc: Path) -> Path | None:
    with suppress(OSError, ValueError, IndexError):
        status = (proc / str(pid) / "status").read_bytes()
        parent = proc / str(int(status.split(b"\nPPid:\t")[1].partition(b"\n")[0]))
        if (parent / "exe").readlink() == (proc / str(pid) / "exe").readlink():
            return parent
    return None


def _comm(process: Path) -> str:
    """The name of a process; empty if it has ended."""
    with suppress(OSError):
        return (process / "comm").read_text(errors="replace").removesuffix("\n")
    return ""


def _names(process: Path) -> Iterator[str]:
    """What a process may be known by, its program first; interpreters have the script second."""
    with suppress(OSError):
        yield (process / "exe").readlink().name.removesuffix(" (deleted)")
    if comm := _comm(process):
        yield comm
    with suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")[:4]
        for word in words:
            # A script, a module (python -m gunicorn), or a title (gunicorn: master [app]).
            first = word.decode(errors="replace").partition(" ")[0]
            yield Path(first).name.removesuffix(":").removesuffix(".py")


def _has_section(path: Path, name: bytes) -> bool:
    """Whether a 64-bit ELF file has a section of this name; see elf(5)."""
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:5] != b"\x7fELF\x02":  # noqa: PLR2004 - sizeof(Elf64_Ehdr)
            return False
        (table,) = struct.unpack_from("=Q", header, 40)
        size, count, names_index = struct.unpack_from("=HHH", header, 58)
        file.seek(table)
        sections = file.read(_SECTION_BYTES * count)
        if size != _SECTION_BYTES or len(sections) < size * count or names_index >= count:
            return False
        at, length = struct.unpack_from("=QQ", sections, names_index * size + 24)
        file.seek(at)
        return name + b"\0" in file.read(min(length, 1 << 20))
