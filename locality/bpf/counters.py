"""Counters that the kernel side keeps in an array map, read in one go.

The map is mapped into this process (BPF_F_MMAPABLE, Linux 5.5), so a reading is one
memory copy. Each counter is a naturally aligned 64-bit word that one CPU writes,
so a single value is never torn; different counters of one reading may be some
nanoseconds apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from locality.bpf.object import Object


class Counters:
    """An array map of structs.

    Args:
        obj: The loaded object.
        map_name: Its map; BPF_MAP_TYPE_ARRAY with BPF_F_MMAPABLE.
        record: The dtype of one value; its size is a multiple of 8.
        shape: How to arrange the values; the product is the number of entries.
    """

    def __init__(
        self, obj: Object, map_name: str, record: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        count = int(np.prod(shape))
        self._live = np.ndarray(shape, record, buffer=obj.mmap(map_name, count * record.itemsize))

    def read(self, first: int | slice | None = None) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
        """A copy of all values, of the shape given; or of the first ones, or of some."""
        return self._live[first if isinstance(first, slice) else slice(first)].copy()
