"""The kernel's headers: what they and kallsyms tell where there is no BTF.

They answer the questions that `btf.Btf` answers elsewhere, so a ladder need not know whom
it asks. No version is asked for: a field is there if the header that is compiled has it.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from locality.bpf import kallsyms
from locality.errors import LocalityError, Unsupported

#: Where a header lies that shows them to be complete enough to compile.
CONFIGURATION = "include/linux/kconfig.h"

#: Which header has a struct.
STRUCTS = {"sk_buff": "include/linux/skbuff.h"}
#: Those that no header defines (net/core/skbuff.c does): nothing is known of their members here.
IN_NO_HEADER = {"skb_free_array"}

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


@dataclass(frozen=True)
class Headers:
    """The headers of one kernel.

    Attributes:
        tree: The directory that has include/.
    """

    tree: Path

    @classmethod
    def installed(cls) -> Headers:
        """Those of the running kernel, where bcc looks for them.

        Raises:
            Unsupported: There are none; says which package brings them.
        """
        modules = Path("/lib/modules") / platform.release()
        given = os.environ.get("BCC_KERNEL_SOURCE")
        # Debian has generated headers in build and all others in source; elsewhere it is one.
        for place in [Path(given)] if given else [modules / "source", modules / "build"]:
            if (place / CONFIGURATION).is_file():
                return cls(place)
        where = f"BCC_KERNEL_SOURCE={given}" if given else f"{modules}/build"
        raise Unsupported(
            f"bcc compiles against the headers of kernel {platform.release()}, and {where} has "
            f"none: on Debian, apt-get install linux-headers-{platform.release()}",
            answer="no kernel headers",
        )

    def has_member(self, struct: str, member: str) -> bool:
        """Whether a struct is known to have a member, also inside anonymous structs and unions."""
        if struct in IN_NO_HEADER:
            return False
        if struct not in STRUCTS:
            raise LocalityError(f"no header is known that defines struct {struct}")
        text = COMMENT.sub("", (self.tree / STRUCTS[struct]).read_text(errors="replace"))
        # The kernel's style ends a definition in the first column, and nothing within it.
        body = re.search(rf"^struct {struct} {{\n(.*?)^}}", text, re.DOTALL | re.MULTILINE)
        return body is not None and re.search(rf"\b{member}\b", body[1]) is not None

    def has_function(self, name: str) -> bool:
        """Whether the kernel has this function, so that a probe could name it."""
        return name in self._functions

    @cached_property
    def _functions(self) -> frozenset[str]:
        return kallsyms.functions()

    def tracepoint_arguments(self, name: str) -> int | None:
        """How many arguments a tracepoint hands to a raw probe, or None without it."""
        declared = re.compile(rf"_EVENT\w*\(\s*{name},\s*TP_PROTO\((.*?)\),\s*TP_ARGS", re.DOTALL)
        for file in sorted((self.tree / "include/trace/events").glob("*.h")):
            if found := declared.search(file.read_text(errors="replace")):
                return found[1].count(",") + 1
        return None
