"""Numbers as options take them: in ASCII digits, with ranges that are described in words."""

from __future__ import annotations

import math
from typing import Any

import click

from locality.commands.param_type import Read
from locality.machine.digits import decimal, whole


class Whole(Read[int]):
    """A whole number in ASCII digits."""

    name = "integer"

    def read(self, text: str) -> int:
        """Refuse what only Python takes for a number."""
        return whole(text, signed=True)


WHOLE = Whole()


class WholeRange(click.IntRange):
    """The same in a range, which help texts and errors describe in words."""

    def _describe_range(self) -> str:
        return _in_words(self.min, self.max)

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Refuse what only Python takes for a number, and what is outside."""
        return int(super().convert(WHOLE.convert(value, param, ctx), param, ctx))


class Number(click.FloatRange):
    """A finite number in ASCII digits, in a range, which help texts and errors describe in words.

    Args:
        min: The smallest one.
        max: The largest one.
        unit: What the number counts; help texts show it in place of the value.
    """

    def __init__(self, min: float, max: float, unit: str) -> None:  # noqa: A002 - as in click
        super().__init__(min, max)
        self.name = unit

    def _describe_range(self) -> str:
        return _in_words(self.min, self.max)

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Refuse what only Python takes for a number, and infinity."""
        try:
            number = decimal(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return float(super().convert(number, param, ctx))


class Percent(Read[float]):
    """A share above 0 %, as ``10%`` or ``10``; its value is from 0 to 1."""

    name = "percent"

    def read(self, text: str) -> float:
        """Read it."""
        share = decimal(text.removesuffix("%")) / 100
        if not 0.0001 <= share <= 1:  # noqa: PLR2004 - what makes sense
            raise ValueError(f"{text} is no share of the time: 0.01% to 100%")
        return share


def _in_words(low: float | None, high: float | None) -> str:
    if high is None:
        return f"{low:.15g} or more"
    return f"{low:.15g} to {high:.15g}"
