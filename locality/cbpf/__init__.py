"""Classic BPF as data: build, assemble, disassemble and evaluate small programs.

A program attached to a reuseport group answers, for each TCP SYN or UDP datagram,
with an index into the group's order. An answer past the end means "no opinion":
the kernel then chooses by its own hash, as it would without a program.
`HASH` is the answer that is past the end of every group.

========== ==================================================================
encoding   instructions, their codes, a whole program
programs   by CPU, queue, hash, chance; tables from CPU to index
control    control traffic to one socket, everything else to others
coin       by a coin for each connection: the worker of a map, or another
text       a program in the words of bpf_asm
describe   a program in a few words: ``cpu % 4``; the options that make it
evaluation what a program answers for a packet
========== ==================================================================
"""

from locality.cbpf.coin import Coin, toss
from locality.cbpf.control import OTHERS, Control, payload, recognise
from locality.cbpf.encoding import (
    HASH,
    MAX_GROUP,
    MAX_INSTRUCTIONS,
    MAX_TABLE,
    Instruction,
    Program,
)
from locality.cbpf.evaluation import Packet, evaluate
from locality.cbpf.programs import (
    BUILDERS,
    cpu,
    format_map,
    parse_map,
    queue,
    random,
    rxhash,
    table,
)
from locality.cbpf.text import disassemble

__all__ = [
    "BUILDERS",
    "HASH",
    "MAX_GROUP",
    "MAX_INSTRUCTIONS",
    "MAX_TABLE",
    "OTHERS",
    "Coin",
    "Control",
    "Instruction",
    "Packet",
    "Program",
    "cpu",
    "disassemble",
    "evaluate",
    "format_map",
    "parse_map",
    "payload",
    "queue",
    "random",
    "recognise",
    "rxhash",
    "table",
    "toss",
]
