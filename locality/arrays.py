"""Arrays of numbers: the type that counts, matrices and records share."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Counts, matrices and records, of any shape and dtype.
Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


def alike(rows: Array, key: tuple[str, ...]) -> Array:
    """(rows,) a number for each row: the same one, from 0 on, for rows that agree in some fields.

    Args:
        rows: Of a structured dtype; at least one.
        key: The fields.
    """
    values = np.concatenate(
        [np.ascontiguousarray(rows[name]).reshape(len(rows), -1).view("u1") for name in key], axis=1
    )
    whole = np.ascontiguousarray(values).view(f"V{values.shape[1]}").ravel()
    _, inverse = np.unique(whole, return_inverse=True)
    numbers: Array = inverse.reshape(-1)
    return numbers


def summed(rows: Array, key: tuple[str, ...]) -> Array:
    """Rows that agree in some fields as one, with the sum of their ``count``.

    Args:
        rows: Of a structured dtype, which has these fields and ``count``.
        key: The fields.
    """
    if not len(rows):
        return rows
    number = alike(rows, key)
    found = np.zeros(number.max() + 1, rows.dtype)
    for name in key:
        found[name][number] = rows[name]
    np.add.at(found["count"], number, rows["count"])
    return found
