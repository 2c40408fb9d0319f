"""Which engine is taken, and what is said where one cannot run. What they measure: tests/vm."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from locality.bpf import engine
from locality.bpf.headers import Headers
from locality.errors import LocalityError, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

SKBUFF = """\
struct sk_buff_head {
	__u32 qlen;
};
/* alloc_cpu is in the next release */
struct sk_buff {
	union {
		struct sock	*sk;
	};
	/* private: napi_id, old_name */
#ifdef CONFIG_XPS
	union {
		unsigned int	napi_id; // sender
	};
#endif
	__u8			__cloned_offset[0];
	__u8			fclone:2,
				peeked:1;
};
struct later { int alloc_cpu; };
"""

EVENTS = """\
TRACE_EVENT(kfree_skb,
	TP_PROTO(struct sk_buff *skb, void *location,
	enum skb_drop_reason reason),
	TP_ARGS(skb, location, reason),
);
TRACE_EVENT(consume_skb,

	TP_PROTO(struct sk_buff *skb),

	TP_ARGS(skb),
);
"""


@pytest.fixture(autouse=True)
def on_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests run: the bcc dialect is for this architecture."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {
        "include/linux/kconfig.h": "",
        "include/linux/skbuff.h": SKBUFF,
        "include/trace/events/skb.h": EVENTS,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


# A field of another struct, or one that only a comment speaks of, is compiled as if it were
# there; one within a union or a bit field is not found.
@pytest.mark.parametrize(
    ("member", "there"),
    [
        ("alloc_cpu", False),
        ("old_name", False),
        ("qlen", False),
        ("napi_id", True),
        ("peeked", True),
        ("sk", True),
    ],
)
def test_members(tree: Path, member: str, *, there: bool) -> None:
    assert Headers(tree).has_member("sk_buff", member) is there


# The next tracepoint's arguments are taken for this one's.
def test_tracepoint_arguments(tree: Path) -> None:
    headers = Headers(tree)
    names = ("kfree_skb", "consume_skb", "skb")
    assert [headers.tracepoint_arguments(name) for name in names] == [3, 1, None]


# The user is told that "it" is missing and not which package brings it.
def test_missing_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    with pytest.raises(Unsupported, match="apt-get install linux-headers-") as error:
        engine.choose("bcc")
    assert str(tmp_path) in str(error.value)


# Bug: engine bcc is tried without the distribution's bcc, or with PyPI's package of that name.
def test_missing_or_wrong_bcc(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tree))
    assert engine.choose("bcc").name == "bcc"
    wrong = ModuleType("bcc")
    wrong.__file__ = "/site-packages/bcc.py"
    monkeypatch.setitem(sys.modules, "bcc", wrong)
    with pytest.raises(Unsupported, match=r"/site-packages/bcc.py is not the BPF Compiler"):
        engine.choose("bcc")
    monkeypatch.setitem(sys.modules, "bcc", None)
    with pytest.raises(Unsupported, match="apt-get install python3-bpfcc"):
        engine.choose("bcc")


# Bug: where the dialect does not know the registers, bcc is installed and compiled for minutes, and
# then the compiler says something about a member of struct pt_regs.
def test_bcc_is_for_one_architecture(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tree))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(Unsupported, match="x86_64 only, and this machine is aarch64") as error:
        engine.choose("bcc")
    assert error.value.answer == "on x86_64 only"


# Without BTF, what auto would need instead is not told, or BTF not.
def test_auto_without_btf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise Unsupported("this kernel has no BTF")

    monkeypatch.setattr("locality.bpf.btf.require_kernel_types", none)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    with pytest.raises(Unsupported, match=r"no BTF; instead of it, .*linux-headers-"):
        engine.choose()
    with pytest.raises(Unsupported, match=r"^this kernel has no BTF$"):
        engine.choose("core")


# Bug: a misspelt engine is passed over, and the usual one runs.
def test_an_unknown_engine() -> None:
    with pytest.raises(LocalityError, match="no engine 'bbc': use auto, core, bcc") as error:
        engine.choose("bbc")
    assert error.value.exit_code == 2
