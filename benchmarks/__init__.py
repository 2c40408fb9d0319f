"""What locality costs, measured on the machine it runs on.

``python -m benchmarks`` runs these on this kernel, ``python -m benchmarks drain start`` just two of
them. ``make bench`` runs ``python -m benchmarks.side_by_side``: the first four, pingpong and lab
here, and floors, tracers and counting in guests. It writes docs/generated/performance.md and
performance.csv.

=========== ====================================================================
floors      the least that a tracer in Python costs that prints a line for each connection
tracers     accepts beside bcc and bpftrace: start, memory, CPU time, nginx
calls       events lost at a steady rate, beside bcc and bpftrace
counting    packets beside bcc and bpftrace: ns each, a ping-pong, nginx
drain       taking events out of the ring, against a libbpf callback
probes      the skb probes' run time, beside an empty program on the same hooks
pingpong    how much slower a TCP ping-pong is while `locality skb` counts
start       from exec to attached, and memory, of the tracing commands
lab         requests/s of nginx, with and without tracing
sinks       events/s of each output format
dashboard   CPU time of `--live`
load        `locality.load` of ten million accepted connections
follow      seconds until accepts are local again, with `attach-cbpf --follow`
top         memory and CPU time of `locality top` with 10,000 connections
cost        what `locality cost` takes from each read
skb_filters what a filter adds to the run time of the skb probes
spill       run time of the program that spills
exporter    nginx while `locality exporter` measures, its memory and CPU time
=========== ====================================================================

These are started by their own names, ``python -m benchmarks.NAME``. ``make growth`` runs growth.

=============== ================================================================
growth          costs of large machines and long runs, before and after
exporter_churn  whether the exporter grows while ports and workers come and go
fleet           how long `locality fleet` takes, on what fleet_data has made
=============== ================================================================

The other modules are parts of these. Shared by most are measure (rounds, medians, goals), programs
(C compiled on the spot), program_stats (run times that the kernel measures), traffic (a ping-pong),
storm (connections), accepts (made-up connections), peers (what people would otherwise run), and,
for the page, plan (how much is measured where) and targets (the ratios that matter).

A machine that does other things too changes its speed from second to second. So whatever
is compared is measured in turns within one run, each turn gives one ratio, and the median
of the ratios is the answer. The range printed behind it says what it is worth.
"""
