"""The count of 2017's locality.stp, beside ours: see `locality_stp.bpf.c`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.programs import open_bpf
from locality.bpf import btf
from locality.machine import topology

if TYPE_CHECKING:
    from locality.bpf.object import Object

SOURCE = Path(__file__).with_suffix(".bpf.c")

#: Programs by the function they hook, of which a kernel has some.
PROGRAMS = {
    "__alloc_skb": "alloc_skb",
    "__netdev_alloc_skb": "netdev_alloc_skb",
    "__napi_alloc_skb": "napi_alloc_skb",
    "napi_alloc_skb": "napi_alloc_skb_renamed",
    "skb_clone": "clone",
    "__kfree_skb": "kfree_skb",
    "kfree_skbmem": "kfree_skbmem",
    "napi_skb_cache_put": "napi_skb_cache_put",
}


@dataclass(frozen=True)
class Count:
    """sk_buffs by direction, RX and TX.

    Attributes:
        freed: Those whose alloc CPU is known.
        local: Of these, freed there.
        unregistered: Freed as well, but not seen when they were allocated.
    """

    freed: tuple[int, int]
    local: tuple[int, int]
    unregistered: tuple[int, int]

    def __sub__(self, earlier: Count) -> Count:
        pairs = {name: (getattr(self, name), getattr(earlier, name)) for name in vars(self)}
        return Count(**{name: (a[0] - b[0], a[1] - b[1]) for name, (a, b) in pairs.items()})


NOTHING = Count((0, 0), (0, 0), (0, 0))


class LocalityStp:
    """The port, counting from the moment it is made.

    Args:
        scratch: Where it is compiled.

    Raises:
        Unsupported: This kernel lets no function be hooked.
    """

    def __init__(self, scratch: Path) -> None:
        programs = [name for hook, name in PROGRAMS.items() if btf.kernel().has_function(hook)]
        self._obj: Object = open_bpf(SOURCE, scratch, f"-DCPUS={topology.possible_cpus()}")
        try:
            self._obj.select(programs)
            self._obj.load()
            self._obj.attach(programs)
        except BaseException:
            self._obj.close()
            raise
        self._bss = self._obj.bss

    def read(self) -> dict[str, Count]:
        """What was counted so far: by `script`, `hook` and `port`."""
        return {name: self._count(self._bss[name]) for name in ("script", "hook", "port")}

    @staticmethod
    def _count(record: Any) -> Count:  # noqa: ANN401 - a live numpy record
        pairs = {name: (int(record[name][0]), int(record[name][1])) for name in vars(NOTHING)}
        return Count(**pairs)

    def close(self) -> None:
        """Detach it."""
        self._obj.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
