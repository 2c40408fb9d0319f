"""click's ParamType with the type that it makes: ``ParamType[int]``, and one that reads a text.

click has that itself from 8.2 on; distributions still ship 8.1, where it cannot be subscripted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click import ParamType as ParamType  # noqa: PLC0414 - it is handed on
else:

    class ParamType(click.ParamType):
        """The same for the interpreter, which does not ask what it makes."""

        def __class_getitem__(cls, _made: object) -> type:
            return cls


T = TypeVar("T")


class Read(ParamType[T]):
    """A type of values that are read from a text."""

    def read(self, text: str) -> T:
        """Read it.

        Raises:
            ValueError: It is none; says why, in words for who typed it.
        """
        raise NotImplementedError

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> T:
        """Read a text; what is none, such as a default, was read before."""
        if not isinstance(value, str):
            made: T = value
            return made
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
