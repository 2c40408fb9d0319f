"""Reading wrk's result. The texts are what wrk 4.1.0 printed."""

from __future__ import annotations

import pytest

from locality.errors import LocalityError
from locality.lab.load import LoadResult, parse

CLEAN = """\
Running 1m test @ http://198.18.0.1:8080/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.13ms    1.61ms  18.85ms   70.94%
    Req/Sec    10.24k     1.47k   13.66k    77.00%
  102392 requests in 5.04s, 14.16MB read
Requests/sec:  20325.83
Transfer/sec:      2.81MB
"""

# The server reset every third connection and answered 404 to the others.
ERRORS = """\
Running 3s test @ http://127.0.0.1:18099/
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   354.21us  274.30us   2.24ms   70.92%
    Req/Sec     3.94k     1.42k    4.95k   100.00%
  784 requests in 3.01s, 49.00KB read
  Socket errors: connect 0, read 400, write 0, timeout 0
  Non-2xx or 3xx responses: 784
Requests/sec:    260.62
Transfer/sec:     16.29KB
"""

# The server accepted and never answered.
SILENT = """\
Running 3s test @ http://127.0.0.1:18098/
  2 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.00us    0.00us   0.00us    -nan%
    Req/Sec     0.00      0.00     0.00      -nan%
  0 requests in 3.01s, 0.00B read
Requests/sec:      0.00
Transfer/sec:       0.00B
"""


# Bug: the per-thread `Req/Sec` line, or the `Transfer/sec` line, is taken for the result.
def test_a_clean_run() -> None:
    assert parse(CLEAN) == LoadResult(102392, 20325.83, {})


# Bug: errors are dropped, and a broken lab looks like a slow one.
def test_errors_are_counted_by_kind() -> None:
    assert parse(ERRORS) == LoadResult(784, 260.62, {"read": 400, "status": 784})


# Bug: wrk's -nan upsets the reading of a run without one answer.
def test_a_run_without_an_answer() -> None:
    assert parse(SILENT) == LoadResult(0, 0.0, {})


# Bug: a wrk that could not connect counts as zero requests, or ends in a traceback.
def test_no_result_says_what_wrk_said() -> None:
    with pytest.raises(LocalityError, match=r"127\.0\.0\.1:1 Connection refused$"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")
    with pytest.raises(LocalityError, match="nothing"):
        parse("\n")
