"""What `locality check` prints."""

from __future__ import annotations

import json

from locality.check import Attempt, EngineAnswer, check_json, check_lines
from locality.machine.capabilities import CAPABILITIES

ATTEMPTS = [
    Attempt("accept", "fentry", "the kernel refused: Operation not permitted", chosen=False),
    Attempt("accept", "tracepoint", None, chosen=True),
    Attempt("accept", "raw-tracepoint", None, chosen=False),
    Attempt("skb", "fentry", None, chosen=True, note="not seen: \x1b[31msplice"),
    Attempt("skb", "kprobe", "log says \x1b[31m\nall is well", chosen=False),
]
ENGINES = [
    EngineAnswer("core", "this kernel has no BTF", chosen=False),
    EngineAnswer("bcc", None, chosen=True),
]
HELD = {name: name == "CAP_BPF" for _, name, _ in CAPABILITIES}


# Bugs: a rung that is only usable is called the one in use; the reason is missing, or what a rung
# does not show; what the kernel's or libbpf's log contains acts on the terminal.
def test_check_lines() -> None:
    lines = list(check_lines(ATTEMPTS, ENGINES, HELD))
    assert [line.split(maxsplit=2) for line in lines[1:7]] == [
        ["accept", "fentry", "the kernel refused: Operation not permitted"],
        ["accept", "tracepoint", "used"],
        ["accept", "raw-tracepoint", "usable"],
        ["skb", "fentry", "used"],
        ["not", "seen:", "\\x1b[31msplice"],
        ["skb", "kprobe", "log says \\x1b[31m\\nall is well"],
    ]
    assert [line.split(maxsplit=1) for line in lines[9:11]] == [
        ["core", "this kernel has no BTF"],
        ["bcc", "used"],
    ]
    states = {line.split()[0]: line.split()[1] for line in lines if line.startswith("CAP_")}
    assert states == {name: "held" if held else "missing" for name, held in HELD.items()}


# Bugs: a reason that holds for all rows stands in each; a long one is wider than a terminal; a row
# is called what no command is.
def test_the_lines_fit_a_terminal() -> None:
    why = " ".join(["probes need CAP_BPF and CAP_PERFMON, and this process has neither"] * 3)
    refused = [
        *(Attempt("accept", rung, why, chosen=False) for rung in ("kprobe", "fentry")),
        Attempt("skb", "fentry", f"only here: {why}", chosen=False),
        Attempt("udp", "fentry", None, chosen=True, note=f"not seen: {why}"),
    ]
    lines = list(check_lines(refused, ENGINES, HELD))
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines[1:3]] == [
        ["accept", "kprobe", "refused", "(1)"],
        ["accept", "fentry", "refused", "(1)"],
    ]
    whole = " ".join(" ".join(lines).split())
    for told in (f"(1) {why}", f"skb fentry only here: {why}", f"used not seen: {why}"):
        assert told in whole
    assert "attach-cbpf --spill BPF" in whole


# Bug: what a command lacks is found out by running it, one capability after the other.
def test_what_commands_lack_is_shown_at_once() -> None:
    def table(*names: str) -> dict[str, list[str]]:
        held = {name: name in names for _, name, _ in CAPABILITIES}
        lines = list(check_lines(ATTEMPTS, ENGINES, held))
        begin = lines.index(f"{'command':<20} {'needs CAP_...':<39} lacks")
        assert all(len(line) <= 80 for line in lines)
        found: dict[str, list[str]] = {}
        for line in lines[begin + 1 :]:
            command = line[:20].strip() or [*found][-1]  # the rest of a row is below it
            found.setdefault(command, []).extend(line[61:].split())
        return found

    probes = "CAP_BPF", "CAP_PERFMON"
    assert table(*probes)["accept"] == ["nothing"]
    assert table(*probes)["skb"] == ["SYSLOG"]
    assert table("CAP_SYS_ADMIN")["skb"] == ["SYSLOG"]
    assert table(*probes, "CAP_SYS_PTRACE")["groups"] == ["DAC_READ_SEARCH"]
    assert table("CAP_SYSLOG")["skb"] == ["BPF", "PERFMON"]
    assert {" ".join(told) for told in table().values()} == {"all of them"}
    told = json.loads(check_json(ATTEMPTS, ENGINES, HELD))["commands"]
    assert told["skb"] == {
        "needs": ["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"],
        "lacks": ["CAP_PERFMON", "CAP_SYSLOG"],
    }


# Bug: programs get other names or other answers than people.
def test_check_json() -> None:
    found = json.loads(check_json(ATTEMPTS, ENGINES, HELD))
    assert found["capabilities"] == HELD
    assert found["engines"][1] == {"engine": "bcc", "refusal": None, "chosen": True}
    accept = {"measurement": "accept", "refusal": None, "note": ""}
    assert found["rungs"][1:3] == [
        {**accept, "rung": "tracepoint", "chosen": True},
        {**accept, "rung": "raw-tracepoint", "chosen": False},
    ]
    assert found["rungs"][3]["note"] == "not seen: \x1b[31msplice"
    assert found["rungs"][4]["refusal"] == "log says \x1b[31m\nall is well"
