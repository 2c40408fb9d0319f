"""The only code that talks BPF.

========== ==================================================================
libbpf     the C library, through ctypes
btf        types: what the kernel's structures and an object's records look like
object     open, configure, load, attach and close one compiled probe object
trial      whether the kernel lets a function be hooked
run        run a loaded program once, attached to nothing
engine     what makes an object fit this kernel: libbpf and BTF, or bcc and headers
bcc_object an object that bcc compiles when it is used
headers    what the kernel's headers and kallsyms tell where there is no BTF
xdp        a program on a network interface, for as long as this process lives
ladder     which rung of a measurement this kernel allows, and why not the others
ring       a BPF ring buffer seen as a numpy array
counters   an mmapped array map seen as a numpy array
========== ==================================================================
"""
