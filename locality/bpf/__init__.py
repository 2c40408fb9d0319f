"""The code that talks BPF. `skb.cells`, `spill.maps` and `lab.udp_rx_cpus` call its library, too.

========== ==================================================================
libbpf     the C library, through ctypes
abi        the structures in which the kernel tells about programs, maps and links
btf        types: what the kernel's structures and an object's records look like
compiled   the file of a probe for this machine and its kernel
handles    the programs and maps of an object that libbpf has opened
object     open, configure, load, attach and close one compiled probe object
links      what an object's programs are attached to, and what the kernel skipped
refusal    what the kernel and libbpf answer when they refuse, in one line
trial      whether the kernel lets a function be hooked
run        run a loaded program once, attached to nothing
run_times  have the kernel measure how long programs run
engine     what makes an object fit this kernel: libbpf and BTF, or bcc and headers
bcc_object an object that bcc compiles when it is used
headers    what the kernel's headers and kallsyms tell where there is no BTF
kallsyms   where the kernel's functions lie, from /proc/kallsyms
symbols    the same, asked by BPF
tracefs    tracepoints by name, and perf events
tasks      threads and descriptors, listed by BPF iterators
xdp        a program on a network interface, for as long as this process lives
ladder     which rung of a measurement this kernel allows, and why not the others
source     what the sources of all measurements share
ring       a BPF ring buffer seen as a numpy array
barrier    what keeps reads of a ring in order
counters   an mmapped array map seen as a numpy array
========== ==================================================================
"""
