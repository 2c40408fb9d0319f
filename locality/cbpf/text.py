"""Programs as text, that of the kernel's bpf_asm (Documentation/networking/filter.rst)."""

from __future__ import annotations

from locality.cbpf.encoding import (
    ANCILLARY,
    ANCILLARY_BASE,
    ARITHMETIC,
    COMPARISON,
    JA,
    LD_IMM,
    LD_LENGTH,
    LOADS,
    MAX_GROUP,
    RET,
    RET_A,
    Instruction,
    Program,
    targets,
)


def disassemble(program: Program) -> list[str]:
    """One line an instruction, such as ``l1: jeq #0, l2, l3``."""
    return [f"l{pc}: {instruction_text(pc, ins)}" for pc, ins in enumerate(program.instructions)]


def instruction_text(pc: int, ins: Instruction) -> str:
    """One instruction, without its label; a number where it has no text here."""
    match ins.code:
        case code if code in LOADS:
            return f"{LOADS[code][0]} {_source(ins.k)}"
        case code if code in ARITHMETIC:
            return f"{ARITHMETIC[code][0]} #{_number(ins.k)}"
        case code if code in COMPARISON:
            taken, other = targets(pc, ins)
            return f"{COMPARISON[code][0]} #{_number(ins.k)}, l{taken}, l{other}"
        case code if code in _FIXED:
            return _FIXED[code].format(k=_number(ins.k), target=pc + 1 + ins.k)
        case code:
            return f".insn {code:#04x}, {ins.jt}, {ins.jf}, {ins.k:#x}"


_FIXED = {
    LD_IMM: "ld #{k}",
    LD_LENGTH: "ld len",
    JA: "jmp l{target}",
    RET: "ret #{k}",
    RET_A: "ret a",
}


def _source(offset: int) -> str:
    """What a load reads: a name, or an offset into the payload."""
    return ANCILLARY.get(offset - ANCILLARY_BASE, ("", f"[{_number(offset)}]"))[1]


def _number(k: int) -> str:
    """Decimal for what counts CPUs and sockets; hexadecimal for masks and `HASH`."""
    return str(k) if k <= MAX_GROUP else hex(k)
