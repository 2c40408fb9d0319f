"""click's ParamType with the type that it makes: ``ParamType[int]``.

click has that itself from 8.2 on; distributions still ship 8.1, where it cannot be subscripted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click import ParamType as ParamType  # noqa: PLC0414 - it is handed on
else:

    class ParamType(click.ParamType):
        """The same for the interpreter, which does not ask what it makes."""

        def __class_getitem__(cls, _made: object) -> type:
            return cls
