"""Which rung is taken, and what is said of the others. The kernel's part is in tests/live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.accept.source import RUNGS as ACCEPT_RUNGS
from locality.bpf.ladder import Rung, attach_best
from locality.bpf.object import Object
from locality.errors import LocalityError, Unsupported
from locality.skb.source import RUNGS as SKB_RUNGS

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.bpf.engine import Kernel


def refusing(name: str, reason: str) -> Rung:
    def programs(_kernel: Kernel) -> tuple[str, ...]:
        raise Unsupported(reason)

    return Rung(name, programs)


def never_opened() -> Object:
    raise AssertionError("an object was opened for a rung that had refused")


LADDER = (
    refusing("fentry", "no trampolines"),
    refusing("kprobe", "no kprobes"),
    refusing("tracepoint", "no tracefs"),
)


# A reason that is dropped is the one the user would have needed.
def test_every_rung_says_why_not() -> None:
    with pytest.raises(Unsupported) as refusal:
        attach_best(LADDER, never_opened)
    told = str(refusal.value)
    reasons = ["fentry: no trampolines", "kprobe: no kprobes", "tracepoint: no tracefs"]
    assert [reason for reason in reasons if reason in told] == reasons
    assert told.index("fentry") < told.index("kprobe") < told.index("tracepoint")
    assert "\n" not in told


# Asked for one rung, another must not be tried: the answer would be about the wrong one.
def test_only_the_rung_that_was_asked_for() -> None:
    with pytest.raises(Unsupported) as refusal:
        attach_best(LADDER, never_opened, only="kprobe")
    assert "kprobe: no kprobes" in str(refusal.value)
    assert "fentry" not in str(refusal.value)


# A typing error must not read as "this kernel does not allow it".
def test_an_unknown_rung_is_a_usage_error() -> None:
    with pytest.raises(
        LocalityError, match=r"no rung 'kprobes' .* fentry, kprobe, tracep"
    ) as error:
        attach_best(LADDER, never_opened, only="kprobes")
    assert error.value.exit_code == 2
    assert not isinstance(error.value, Unsupported)


# A mistake of ours (a program that the object does not have) is no refusal of the kernel's:
# to try the next rung would hide it, and the object must be given back.
def test_an_error_of_ours_is_not_taken_for_a_refusal() -> None:
    closed: list[str] = []

    class Watched(Object):
        def close(self) -> None:
            closed.append(self.name)
            super().close()

    wrong = Rung("fentry", lambda _kernel: ("no_such_program",))
    ladder = (wrong, refusing("kprobe", "no kprobes"))
    with pytest.raises(LocalityError, match="no program no_such_program") as error:
        attach_best(ladder, lambda: Watched.open("accept_cpu"))
    assert not isinstance(error.value, Unsupported)
    assert closed == ["accept_cpu"]


class Fake(Object):
    """An object that no kernel sees; refused if it has programs that this one does not like."""

    def __init__(self, disliked: set[str], given_back: list[set[str]]) -> None:
        self._chosen: set[str] = set()
        self._disliked = disliked
        self._given_back = given_back

    def select(self, names: Collection[str]) -> None:
        self._chosen = {*names}

    def load(self) -> None:
        if refused := self._chosen & self._disliked:
            raise Unsupported(f"no {', '.join(refused)}")

    def attach(self, names: Collection[str]) -> None:
        assert {*names} == self._chosen

    def close(self) -> None:
        self._given_back.append(self._chosen)


# Bugs: for something that may be missing, a worse rung is taken or none; that it is missing is
# not told; the object that was refused stays.
@pytest.mark.parametrize(
    ("disliked", "left_out", "stood_on", "given_back"),
    [
        (set(), "", "fentry", []),
        ({"extra"}, "no extra", "fentry", [{"first", "extra"}]),
        ({"first"}, "", "kprobe", [{"first", "extra"}, {"first"}]),
    ],
)
def test_programs_beside_a_rung(
    disliked: set[str], left_out: str, stood_on: str, given_back: list[set[str]]
) -> None:
    ladder = (
        Rung("fentry", lambda _kernel: ("first",)),
        Rung("kprobe", lambda _kernel: ("second",)),
    )
    closed: list[set[str]] = []
    attachment = attach_best(ladder, lambda: Fake(disliked, closed), beside=("extra",))
    assert (attachment.rung.name, attachment.left_out) == (stood_on, left_out)
    assert closed == given_back
    assert "extra" not in attachment.programs


class Choosy(Fake):
    """One of which some programs cannot even be chosen; nothing was loaded then."""

    def select(self, names: Collection[str]) -> None:
        super().select(names)
        self.load()


# Bugs: the object is opened again for each rung that is known to be refused, a millisecond each;
# what the last refusal leaves open stays.
@pytest.mark.parametrize(
    ("disliked", "given_back"),
    [({"first"}, []), ({"first", "second"}, [{"second"}])],
)
def test_an_object_of_which_nothing_was_loaded_is_used_again(
    disliked: set[str], given_back: list[set[str]]
) -> None:
    ladder = (
        Rung("fentry", lambda _kernel: ("first",)),
        Rung("kprobe", lambda _kernel: ("second",)),
    )
    opened: list[Object] = []
    closed: list[set[str]] = []

    def open_object() -> Object:
        opened.append(Choosy(disliked, closed))
        return opened[-1]

    if "second" in disliked:
        with pytest.raises(Unsupported, match=r"no first.*no second"):
            attach_best(ladder, open_object)
    else:
        assert attach_best(ladder, open_object).obj is opened[0]
    assert len(opened) == 1
    assert closed == given_back


# `--rung` takes these names; two rungs of one name could not be told apart.
@pytest.mark.parametrize("rungs", [ACCEPT_RUNGS, SKB_RUNGS])
def test_names_are_distinct(rungs: tuple[Rung, ...]) -> None:
    names = [rung.name for rung in rungs]
    assert len(set(names)) == len(names)
    assert set(names) <= {"fentry", "kprobe", "tracepoint", "raw-tracepoint"}


MAKERS = ("__alloc_skb", "__build_skb", "build_skb_around", "skb_clone")
DEFER = "skb_attempt_defer_free"


class OneKernel:
    """What the choice of programs asks a kernel, answered from a list."""

    def __init__(self, functions: set[str], consume_skb_arguments: int) -> None:
        self._functions = functions
        self._arguments = consume_skb_arguments

    def has_member(self, struct: str, member: str) -> bool:
        # The field came with the function (Linux 5.19). No fragments freed in bulk here.
        return (struct, member) == ("sk_buff", "alloc_cpu") and self.has_function(DEFER)

    def has_function(self, name: str) -> bool:
        return name in self._functions

    def tracepoint_arguments(self, name: str) -> int | None:
        return {"consume_skb": self._arguments}.get(name)


# Two probes on the way to the same memory count a packet twice, none loses it; a kernel whose
# sk_buffs do not know their CPU needs the functions that make them. One case for each row of
# kernels: up to 5.18, up to 6.2, up to 6.11 and newer.
@pytest.mark.parametrize(
    ("functions", "arguments", "expected"),
    [
        (
            {"__kfree_skb_defer"},
            1,
            {
                *("_napi_consume_skb", "___kfree_skb_defer", "free_fragment"),
                *(f"<_{name}" for name in MAKERS),
            },
        ),
        (
            {DEFER, "__kfree_skb_defer"},
            1,
            {"_napi_consume_skb", "___kfree_skb_defer", "free_fragment", f"_{DEFER}"},
        ),
        ({DEFER}, 2, {"_napi_consume_skb", "_flush", f"_{DEFER}"}),
        ({DEFER, "napi_skb_cache_put"}, 2, {"_napi_skb_cache_put", "_flush", f"_{DEFER}"}),
    ],
)
@pytest.mark.parametrize("twin", [("fentry", "fexit"), ("kprobe", "kretprobe")])
def test_programs_by_what_the_kernel_has(
    functions: set[str], arguments: int, expected: set[str], twin: tuple[str, str]
) -> None:
    entering, leaving = twin
    (rung,) = (rung for rung in SKB_RUNGS if rung.name == entering)
    always = ("_kfree_skbmem", "_kfree_skb_partial", "_skb_consume_udp", "_inet_frag_reasm_prepare")
    prefixes = {"<": leaving, "_": entering}
    names = {prefixes.get(name[0], "") + name.removeprefix("<") for name in {*always, *expected}}
    chosen = rung.programs(OneKernel(functions, arguments))
    assert sorted(chosen) == sorted(names)
    with Object.open("skb_alloc_free") as obj:
        assert names <= set(obj.programs)


# By tracepoints alone the CPU of such an sk_buff cannot be known: refused, and why.
def test_tracepoints_need_the_field() -> None:
    with pytest.raises(Unsupported, match="alloc_cpu"):
        SKB_RUNGS[-1].programs(OneKernel({"__kfree_skb_defer"}, 1))
