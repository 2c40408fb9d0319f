"""Which server a process is, told from made-up /proc entries."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from locality.reuseport.servers import SERVERS, UNKNOWN, moves_between_threads, server_of

if TYPE_CHECKING:
    from pathlib import Path


def process(proc: Path, pid: int, program: Path, comm: str, *command: str, parent: int = 1) -> None:
    place = proc / str(pid)
    place.mkdir()
    (place / "exe").symlink_to(program)
    (place / "comm").write_text(f"{comm}\n")
    (place / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in command))
    (place / "status").write_text(f"Name:\t{comm}\nPPid:\t{parent}\n")


def elf(path: Path, *sections: str) -> Path:
    """A 64-bit ELF file that has only names of sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections)
    header = bytearray(64)
    header[:5] = b"\x7fELF\x02"
    struct.pack_into("=Q", header, 40, 64)  # e_shoff
    struct.pack_into("=HHH", header, 58, 64, 1, 0)  # e_shentsize, e_shnum, e_shstrndx
    section = bytearray(64)
    struct.pack_into("=QQ", section, 24, 128, len(names))  # sh_offset, sh_size
    path.write_bytes(bytes(header + section) + names)
    return path


# Bugs: an interpreter's name hides the server that it runs; a title, a deleted program or a worker
# that was started by the server is not recognised; some server passes for another one.
@pytest.mark.parametrize(
    ("program", "comm", "command", "name"),
    [
        ("nginx", "nginx", ("nginx: worker process",), "nginx"),
        ("apache2 (deleted)", "apache2", ("/usr/sbin/apache2", "-k", "start"), "apache2"),
        ("python3.11", "gunicorn", ("gunicorn: worker [app]",), "gunicorn"),
        ("python3.11", "python3", ("python3", "-m", "uvicorn", "app:app"), "uvicorn"),
        ("python3.11", "python3", ("/usr/bin/python3", "/srv/bin/gunicorn"), "gunicorn"),
        ("node", "node", ("node", "cluster.js"), "node"),
    ],
)
def test_a_server_is_known_by_what_it_runs(
    tmp_path: Path, program: str, comm: str, command: tuple[str, ...], name: str
) -> None:
    process(tmp_path, 7, tmp_path / program, comm, *command)
    assert server_of(7, tmp_path) is SERVERS[name]


# Bugs: a worker of a server passes for any Python; a helper that a server started passes for one of
# its workers.
def test_a_worker_is_known_by_who_started_it(tmp_path: Path) -> None:
    python = tmp_path / "python3.11"
    process(tmp_path, 7, python, "python3", "python3", "-m", "uvicorn", "app:app")
    process(tmp_path, 8, python, "python3", "python3", "-c", "from multiprocessing", parent=7)
    process(tmp_path, 9, tmp_path / "helper", "helper", "helper", parent=7)
    assert server_of(8, tmp_path) is SERVERS["uvicorn"]
    assert server_of(9, tmp_path).name == "helper"
    assert server_of(10, tmp_path) is UNKNOWN


# Bug: doctor and explain call a process by the file of its program, top and groups by its name.
def test_a_server_that_is_not_known_has_the_name_that_ps_shows(tmp_path: Path) -> None:
    process(tmp_path, 7, tmp_path / "python3.11", "python3", "python3", "server.py")
    assert server_of(7, tmp_path).name == "python3"


# Bugs: a Go program is not known, or every program is one; a file that is damaged ends it all.
def test_a_go_program_is_known_by_its_build_information(tmp_path: Path) -> None:
    for pid, content in enumerate(((".text", ".go.buildinfo"), (".text",)), start=7):
        process(tmp_path, pid, elf(tmp_path / f"program{pid}", *content), "server", "server")
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF\x02" + b"\xff" * 100)
    process(tmp_path, 9, broken, "server", "server")
    assert [moves_between_threads(pid, tmp_path) for pid in (7, 8, 9)] == [True, False, False]
    assert server_of(7, tmp_path).name == "a Go program"
