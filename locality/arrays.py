"""Arrays of numbers: the type that counts, matrices and records share."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Counts, matrices and records, of any shape and dtype.
Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
