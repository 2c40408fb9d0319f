"""The columns of a recording of a trial: rows of several kinds, in one table."""

from __future__ import annotations

import math

from locality.recording.columns import LONGEST, MOST, Column

#: The kinds of rows. A batch has one ``trial``, a row for each outcome, reason and fact, and a
#: ``value`` for each of its units and outcomes.
TRIAL, OUTCOME, LEFT_OUT, FACT, VALUE = "trial", "outcome", "left_out", "fact", "value"
ROWS = (TRIAL, OUTCOME, LEFT_OUT, FACT, VALUE)

#: The parts of a trial, by the word for them in the rows: A against A, and A against B.
AA_PART, TRIAL_PART = "aa", "trial"


def _of(row: str, name: str, type_: str, meaning: str, *, nullable: bool = False) -> Column:
    most = {"int64": MOST, "float64": LONGEST}.get(type_)
    return Column(name, type_, meaning, nullable=nullable, rows=(row,), most=most)


#: Forms are not used: each name is that of a field of what the row describes.
COLUMNS = (
    Column("row", "text", "trial, outcome, left_out, fact or value"),
    _of(TRIAL, "kind", "text", "what is randomised: connection or blocks"),
    _of(TRIAL, "target", "text", "what is tried"),
    _of(TRIAL, "arm_a", "text", "what arm A is"),
    _of(TRIAL, "arm_b", "text", "what arm B is"),
    _of(TRIAL, "planned", "int64", "planned connections or blocks, both arms together"),
    _of(TRIAL, "seed", "int64", "seed of the random numbers"),
    _of(TRIAL, "block_s", "float64", "seconds of a block, with its wash-out; 0 by connection"),
    _of(TRIAL, "washout_s", "float64", "seconds of its wash-out"),
    _of(TRIAL, "aa", "bool", "whether an A/A part was planned"),
    _of(TRIAL, "lives_s", "float64", "p99 of connections' lifetimes before; s", nullable=True),
    Column("began", "int64", "when the trial began: UTC, ns; 0: not known", rows=(TRIAL,)),
    _of(TRIAL, "lost", "int64", "events that were missed, since the start"),
    _of(TRIAL, "harm", "text", "why the guard ended it; NA: it did not", nullable=True),
    _of(TRIAL, "restored", "bool", "whether all was put back; NA: not known", nullable=True),
    _of(TRIAL, "ended_early", "bool", "whether it ended before all planned units were there"),
    _of(TRIAL, "kept", "text", "the arm that was left in place; NA: none", nullable=True),
    _of(TRIAL, "ended", "bool", "whether no other batch follows"),
    Column(
        "outcome",
        "text",
        "what is compared; with its statistic in values",
        rows=(OUTCOME, VALUE),
    ),
    _of(OUTCOME, "unit", "text", "of its values"),
    _of(OUTCOME, "better", "text", "which direction is better: lower or higher"),
    _of(OUTCOME, "summary", "text", "the statistic of an arm: mean, p50 or p99"),
    _of(OUTCOME, "primary", "bool", "whether the trial was made to decide it"),
    Column("name", "text", "the reason, or what the fact is of", rows=(LEFT_OUT, FACT)),
    _of(LEFT_OUT, "count", "int64", "units or connections left out for this reason"),
    _of(FACT, "text", "text", "the fact"),
    _of(VALUE, "part", "text", "aa: A against A; trial: A against B"),
    _of(VALUE, "seconds", "float64", "when it was, from the beginning of its part"),
    Column("pair", "int32", "number of the pair of blocks; -1: none", rows=(VALUE,), least=-1),
    Column("arm", "uint8", "0: A; 1: B", rows=(VALUE,), most=1),
    Column(
        "weight",
        "float64",
        "connections, packets or bytes in the block; 1 by connection",
        rows=(VALUE,),
    ),
    _of(VALUE, "washout", "float64", "seconds thrown away before it"),
    Column(
        "value",
        "float64",
        "the value, in the outcome's unit; NA: not known",
        nullable=True,
        rows=(VALUE,),
        least=-math.inf,
    ),
)
