"""The configuration the lab gives nginx."""

from __future__ import annotations

import re

from locality.lab.nginx import affinity, render


# Bug: workers and CPUs differ in number or order, and every percentage of the demo is wrong.
def test_worker_i_is_on_the_ith_cpu() -> None:
    text = render([0, 1, 2, 3])
    assert "worker_processes 4;" in text
    assert "worker_cpu_affinity 1 10 100 1000;" in text


# Bug: the reversed phase runs in order, and shows 100 % where 0 % is right.
def test_reversed_cpus_stay_reversed() -> None:
    assert "worker_cpu_affinity 10 1;" in render([1, 0])


# Bug: a CPU above 9 or 31 is written as something else than one bit.
def test_a_high_cpu_is_one_bit() -> None:
    assert int(affinity(70), 2) == 1 << 70


# Bug: without `reuseport` all workers share one socket and there is no group.
def test_every_listen_has_reuseport() -> None:
    listens = re.findall(r"listen (.*);", render([0, 1]))
    assert listens == ["8080 reuseport", "unix:/tmp/nginx/status"]


# Bug: nginx, as root, changes the owner of the system's /var/lib/nginx/body, or writes its
# pid over that of the system's nginx.
def test_no_path_is_outside_the_prefix() -> None:
    paths = re.findall(r"^\s*(?:pid|\w+_path) (.*);", render([0, 1]), re.MULTILINE)
    assert len(paths) == 6
    assert not [path for path in paths if path.startswith("/")]


# Bug: nginx goes to the background, where nothing waits for it.
def test_nginx_stays_in_the_foreground() -> None:
    assert "daemon off;" in render([0, 1])
