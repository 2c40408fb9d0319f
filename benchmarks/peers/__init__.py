"""What people would otherwise run: the contestants of `python -m benchmarks.side_by_side`.

========================= =========================================================
accept_kretprobe.bt       bpftrace: the lines of 2017, on the hook of bcc's tcpaccept
accept_tracepoint.bt      bpftrace: the same where there are no kprobes
locality_stp.bt           bpftrace: packets freed where they were allocated, on kprobes
locality_stp_kfunc.bt     bpftrace: the same count on fentry, which it calls kfunc
locality_stp_bcc.py       bcc: the same count on kprobes
calls.bt, calls_bcc.py    a record for each call of a cheap system call
contestants               all of them and ours: command lines, and what they print
running                   starting one, waiting until it is attached, what it costs
switching, switched       having one on and off in turns
beside                    what nginx and a ping-pong lose while one is on
========================= =========================================================

The distribution's `tcpaccept` is run as it is. What ends in `_bcc.py` runs under the
distribution's Python and is never imported.

locality.stp counted, by direction, how many packets were freed on the CPU that allocated them
(docs/generated/definitions.md). The ports count them in the three functions of Linux 6.1 in which
the memory of an sk_buff ends. They tell the direction by the rules of `locality skb`. They need not
remember the CPU, because an sk_buff names it since Linux 5.19. `locality skb` counts these packets
as *freed*. It has further hooks for consumed, delivered and deferred packets; its cost is the sum
over all its hooks.
"""
