"""Local first, but never a hot worker: the eBPF program that looks at the length of queues.

`attach-cbpf --spill` gives a TCP group a program (`probes/spill.bpf.c`) that sends a connection to
the worker of the CPU that received it, unless too many wait for that worker already. Then the
nearest worker gets it for which fewer wait.

========== ==================================================================
table      which worker for which CPU, and which others in what order
answers    what the program answers, computed without a kernel
bound      how long a queue may be, from what is measured
maps       the program's maps: what tells it the table, and what it counts
program    load it, give it to a group, change its table
attached   what is read of a group's program, whoever attached it
text       all of this in words
========== ==================================================================
"""
