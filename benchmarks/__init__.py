"""What locality costs, measured on the machine it runs on.

``python -m benchmarks`` runs everything on this kernel, ``python -m benchmarks drain start`` just
these. ``make bench`` runs ``python -m benchmarks.side_by_side``: the first three parts of this
table, here and in guests. It writes docs/generated/performance.md and performance.csv.

========== ==================================================================
tracers    accepts beside bcc and bpftrace: start, memory, CPU time, nginx
calls      events lost at a steady rate, beside bcc and bpftrace
counting   packets beside bcc and bpftrace: ns each, a ping-pong, nginx
drain      taking events out of the ring, against a libbpf callback
floors     what a tracer in Python that prints a line for each connection cannot be below
probes     the skb probes' run time, beside an empty program on the same hooks
pingpong   how much slower a TCP ping-pong is while `locality skb` counts
start      from exec to attached, and memory, of the tracing commands
lab        requests/s of nginx, with and without tracing
sinks      events/s of each output format
measure    rounds, medians, goals: what all of them share
peers      what people would otherwise run, started and switched on and off
plan       how much is measured where
targets    the ratios that matter, and what they should be
programs   C compiled on the spot: for BPF, and for this machine
traffic    the ping-pong that probes and pingpong play
========== ==================================================================

A machine that does other things too changes its speed from second to second. So whatever
is compared is measured in turns within one run, each turn gives one ratio, and the median
of the ratios is the answer. The range printed behind it says what it is worth.
"""
