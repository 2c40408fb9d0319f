"""`locality accept` or `locality skb` in a process that attaches and detaches when told to.

    python -m benchmarks.peers.switched accept|skb

Reads lines, `on` or `off`, and answers each by a line on stderr when it is so. Prints to stdout
what the command prints by default.
"""

from __future__ import annotations

import sys
from threading import Thread
from typing import TYPE_CHECKING

from locality.accept.source import AcceptSource
from locality.accept.summary import AcceptSummary
from locality.accept.text import TextAccept
from locality.machine import topology
from locality.skb.source import SkbSource
from locality.skb.text import TextSkb
from locality.stream import stream

if TYPE_CHECKING:
    from locality.bpf.ladder import Attachment


def _answer() -> None:
    print("done", file=sys.stderr, flush=True)


def _obey(attachment: Attachment) -> None:
    on = False
    for line in sys.stdin:
        wanted = line.strip() == "on"
        if wanted and not on:
            attachment.obj.attach(attachment.programs)
        elif on and not wanted:
            attachment.obj.detach()
        on = wanted
        _answer()


def main() -> None:
    machine = topology.read()
    source: AcceptSource | SkbSource = AcceptSource() if sys.argv[1] == "accept" else SkbSource()
    source.attachment.obj.detach()
    # Not waited for at the end: it waits for lines.
    Thread(target=_obey, args=(source.attachment,), daemon=True).start()
    _answer()
    if isinstance(source, AcceptSource):
        stream(source, (AcceptSummary(machine), TextAccept(sys.stdout, machine)))
    else:
        stream(source, (TextSkb(sys.stdout, machine),))


if __name__ == "__main__":
    main()
