"""Which CPUs the lab takes, and how it writes them for the kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locality.errors import LocalityError
from locality.lab.experiment import rx_cpus
from locality.machine.topology import format_cpu_mask


# Bug: a big machine gets more workers than the demo has room for, an odd number leaves one
# worker in place when reversed, a CPU outside our cpuset is used.
@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ({0, 1}, (0, 1)),
        (set(range(64)), (0, 1, 2, 3)),
        ({0, 1, 2}, (0, 1)),
        ({2, 3}, (2, 3)),
        ({3, 4}, (4, 3)),
        ({4, 5, 6, 7}, (4, 5, 6, 7)),
        ({0, 1, 4, 5}, (0, 1)),
    ],
)
def test_cpus_chosen(allowed: set[int], expected: tuple[int, ...]) -> None:
    assert rx_cpus(allowed, 4) == expected


# Bug: on one CPU, or only even ones, the demo runs and shows nonsense.
@pytest.mark.parametrize("allowed", [{0}, {0, 2, 4}, {1, 3}])
def test_cpus_that_cannot_show_anything_are_refused(allowed: set[int]) -> None:
    with pytest.raises(LocalityError, match="an even and an odd CPU"):
        rx_cpus(allowed, 4)


# Bug: for some set of CPUs `cpu % N` names another worker than the one on that CPU, and
# "after" is not 100 %; or a worker stays where it was when reversed, and "reversed" not 0 %.
@given(st.sets(st.integers(0, 300), min_size=1), st.integers(2, 9))
def test_cpu_modulo_n_is_the_worker(allowed: set[int], most: int) -> None:
    try:
        cpus = rx_cpus(allowed, most)
    except LocalityError:
        assert len({cpu % 2 for cpu in allowed}) == 1
        return
    assert len(cpus) <= most
    assert allowed.issuperset(cpus)
    assert [cpu % len(cpus) for cpu in cpus] == list(range(len(cpus)))
    assert all(cpu != other for cpu, other in zip(cpus, reversed(cpus), strict=True))


# Bug: a mask of more than 32 CPUs is refused by the kernel, or a group loses its zeros.
@given(st.sets(st.integers(0, 300), min_size=1))
def test_the_mask_reads_back(cpus: set[int]) -> None:
    first, *rest = format_cpu_mask(cpus).split(",")
    assert first != "0"
    assert all(len(group) == 8 for group in rest)
    bits = int("".join([first, *rest]), 16)
    assert {cpu for cpu in range(301) if bits >> cpu & 1} == cpus
