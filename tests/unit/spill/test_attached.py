"""What is read of a group's program, and how it is said."""

from __future__ import annotations

from typing import cast

import numpy as np

from locality.errors import LocalityError
from locality.machine.topology import Distance
from locality.spill import attached, maps, text
from locality.spill.maps import CHOICE, COUNTS, ROUTE, WORKER, Maps
from tests.unit.spill.made_up import CPUS, FIRST, table

CAPACITY = 8
INODES = [FIRST, FIRST + 1, FIRST + 2]
COOKIES = {inode: 7000 + inode for inode in INODES}


class Written:
    """Maps as `program` writes them for `table(0, 2, 4)`, with three sockets in places 3, 1, 5."""

    def __init__(self) -> None:
        self.capacity = CAPACITY
        self.routes = np.zeros(CPUS, ROUTE)
        self.order = np.zeros((CPUS, CAPACITY), CHOICE)
        self.counters = np.zeros(CPUS, COUNTS)
        self.workers = np.zeros((CPUS, CAPACITY), WORKER)
        self.departed = np.zeros(CPUS, WORKER)
        self.places = dict(zip(INODES, (3, 1, 5), strict=True))
        told = table(0, 2, 4)
        for cpu in told.cpus:
            row = told.row(cpu)
            self.routes[cpu]["workers"], self.routes[cpu]["bound"] = len(row), told.bound
            for number, (inode, distance) in enumerate(row):
                self.order[cpu, number]["place"] = self.places[inode]
                self.order[cpu, number]["distance"] = distance

    def cookies(self) -> dict[int, int]:
        return {COOKIES[inode]: place for inode, place in self.places.items()}

    def read(self, cookies: dict[int, int] | None = None) -> attached.Spill:
        return attached.read(9, cast("Maps", self), COOKIES if cookies is None else cookies)


# Bugs: sockets are told by their place and not by who is there; a table that is read is not the one
# that was written, so --follow writes it again.
def test_the_table_is_read_back() -> None:
    assert Written().read() == attached.Spill(9, table(0, 2, 4))


# Bugs: a socket that has left stays in the table; what it got is lost, or counted for another.
def test_a_socket_that_has_left() -> None:
    written = Written()
    written.workers[0, 3] = (5, 1)
    written.workers[2, 1] = (7, 0)
    written.departed[0] = (1, 1)
    del written.places[FIRST]
    spill = written.read({inode: cookie for inode, cookie in COOKIES.items() if inode != FIRST})
    assert spill.table is not None
    assert spill.table.cpus == (2, 4)
    assert spill.table == table(0, 2, 4).without({FIRST})
    assert spill.counted is not None
    assert spill.counted.sockets == {FIRST + 1: (7, 0), FIRST + 2: (0, 0)}
    assert spill.counted.departed == (6, 2)


# Bug: a socket that the table does not have goes unseen.
def test_a_socket_that_has_come() -> None:
    spill = Written().read({**COOKIES, 999: 5, 998: 0})
    assert spill.outside == {999, 998}


# Bug: maps that somebody else has written are taken for a table, or end in a traceback.
def test_a_table_that_makes_no_sense() -> None:
    written = Written()
    written.order[2, 1]["place"] = 77
    assert written.read().table is None
    assert "makes no sense" in written.read().why
    written = Written()
    written.order[2, 1]["distance"] = 7
    assert written.read().table is None
    written = Written()
    written.routes[2]["workers"] = 2
    assert written.read().table is None


# Bug: counts that cannot be read are shown as zeros.
def test_maps_that_cannot_be_had() -> None:
    spill = attached.read(9, LocalityError("only root"), COOKIES)
    assert (spill.table, spill.counted, spill.why) == (None, None, "only root")
    assert list(text.counted_lines(spill, INODES)) == ["what it counted is not known: only root"]


def counted() -> attached.Counted:
    written = Written()
    written.counters[0]["kept"], written.counters[2]["kept"] = 60, 30
    written.counters[0]["spilled"][Distance.LLC] = 6
    written.counters[2]["spilled"][Distance.CORE] = 1
    written.counters[4]["kept_long"] = 2
    written.counters[4]["newcomers"] = 1
    written.workers[0, 3], written.workers[0, 1] = (60, 0), (32, 7)
    found = written.read().counted
    assert found is not None
    return found


# Bugs: the sums leave out a kind of answer, or count one twice; a share of the wrong whole.
def test_sums_in_words() -> None:
    assert text.totals(counted()) == (
        "90 kept (90.0%), 7 spilled (7.0%: core 1, llc 6), 2 kept because no queue was shorter, "
        "1 hashed (for sockets that joined later 1)"
    )
    assert counted().answers == 100
    nothing = counted().since(counted())
    assert nothing.answers == 0
    assert text.totals(nothing) == "0 kept (?), 0 spilled (?)"


# Bug: the counts of one socket stand at another, or a socket outside the table has some.
def test_lines_for_each_socket() -> None:
    spill = attached.Spill(9, table(0, 2, 4), counted(), frozenset({55}))
    assert list(text.counted_lines(spill, [*INODES, 55]))[1:] == [
        "index 0: 60 kept, 0 spilled to it",
        "index 1: 32 kept, 7 spilled to it",
        "index 2: 0 kept, 0 spilled to it",
        "index 3: not in the table, so only the hash selects it",
    ]


# Bug: the order that people read is another one than the program follows.
def test_a_table_in_words() -> None:
    told = table(0, 2, 4)
    assert text.describe(told, INODES) == "map 0:0,2:1,4:2, spilling above 2"
    assert list(text.order_lines(told, INODES, [0, 1, 2, 3])) == [
        "CPU 0 -> index 0 (cpu), then 1 (llc), 2 (remote)",
        "CPU 1,3 -> hash",
        "CPU 2 -> index 1 (cpu), then 0 (llc), 2 (remote)",
    ]
    assert list(text.answer_lines(told, INODES, [0, 1, 4], [3, 3, 0])) == [
        "with 3,3,0 waiting:",
        "  CPU 0 -> index 2 (remote, spilled)",
        "  CPU 1 -> hash",
        "  CPU 4 -> index 2 (cpu, kept)",
    ]


# Bug: a group of a thousand is told in lines of thousands of characters, which nobody reads.
def test_a_large_group_in_words() -> None:
    workers = [number % 2 for number in range(1000)]
    large = table(*workers, own={0: 0, 1: 1})
    inodes = [FIRST + index for index in range(1000)]
    (line, _) = text.order_lines(large, inodes, [0, 1])
    assert line.startswith("CPU 0 -> index 0 (cpu), then 2,4,6,8,10,")
    assert line.endswith(",31,... (500 indexes) (core)")
    lines = list(text.answer_lines(large, inodes, [0], [3, 0, 3] + [0] * 997))
    assert lines[0] == "with 3 at index 0, 3 at index 2 waiting:"
    assert "(498 indexes), by chance (cpu, spilled)" in lines[1]
    assert max(map(len, [line, *lines])) < 250
    assert next(text.answer_lines(large, inodes, [0], [0] * 1000)) == "with none waiting:"


# Bug: a field is added to the program's structs, and Python reads the one before it.
def test_layouts_fill_whole_words() -> None:
    assert (ROUTE.itemsize, CHOICE.itemsize, WORKER.itemsize) == (24, 8, 16)
    assert COUNTS.itemsize == 128
    assert set(maps.LAYOUTS) == {"spill_route", "spill_choice", "spill_counts", "spill_worker"}
