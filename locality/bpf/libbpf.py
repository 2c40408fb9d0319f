"""libbpf through ctypes.

Only declarations live here, and the one piece of state that libbpf has for the
whole process: its log. libbpf writes to stderr by default; here nothing is printed. Within
`listening` every line goes to `log`, a short ring of recent lines, from which `refusal.answer`
quotes when something fails. To hand over what libbpf says of each relocation takes as long as a
tenth of a start, so it is only listened to when something is tried again to learn why it failed.

Needs libbpf 1.0 or newer: failing functions return NULL or -1 and set errno.
"""

from __future__ import annotations

import ctypes
from collections import deque
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import TYPE_CHECKING

from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

SONAME = "libbpf.so.1"

#: The newest lines libbpf wrote, oldest first, without their "libbpf: " prefix.
log: deque[str] = deque(maxlen=200)

_LIBBPF_INFO = 1
_PRINT_FN = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)

_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__section_name": (c_char_p, (c_void_p,)),
    "bpf_program__autoload": (ctypes.c_bool, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, ctypes.c_bool)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_program__attach_perf_event": (c_void_p, (c_void_p, c_int)),
    "bpf_enable_stats": (c_int, (c_uint32,)),
    "bpf_iter_create": (c_int, (c_int,)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, c_void_p)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__type": (c_uint32, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__map_flags": (c_uint32, (c_void_p,)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map_create": (
        c_int,
        (c_uint32, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p),
    ),
    "bpf_map_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, ctypes.c_uint64)),
    "bpf_map_lookup_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    ),
    "bpf_map_freeze": (c_int, (c_int,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_prog_load": (c_int, (c_uint32, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p)),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "bpf_xdp_query": (c_int, (c_int, c_int, c_void_p)),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__new": (c_void_p, (c_void_p, c_uint32)),
    "btf__free": (None, (c_void_p,)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "libbpf_set_print": (c_void_p, (_PRINT_FN,)),
}


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(SONAME, use_errno=True)
    except OSError as error:
        if "No such file" in str(error):
            said = f"{SONAME} is not installed: on Debian, apt-get install libbpf1"
        else:
            said = f"libbpf cannot be loaded: {error}"
        raise Unsupported(said) from None
    for name, (restype, argtypes) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = restype
        function.argtypes = argtypes
    return library


lib = _load()

_vsnprintf = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)


def _collect(level: int, template: bytes, arguments: int) -> int:
    if level > _LIBBPF_INFO:
        return 0
    buffer = ctypes.create_string_buffer(4096)
    _vsnprintf(buffer, len(buffer), template, arguments)
    for line in buffer.value.decode(errors="replace").splitlines():
        log.append(line.removeprefix("libbpf: "))
    return 0


# libbpf keeps the pointer, so the object behind it must live as long as the process.
_collector = _PRINT_FN(_collect)
_nobody = _PRINT_FN()
lib.libbpf_set_print(_nobody)


@contextmanager
def listening() -> Iterator[None]:
    """Let `log` hold what libbpf says in the block."""
    log.clear()
    lib.libbpf_set_print(_collector)
    try:
        yield
    finally:
        lib.libbpf_set_print(_nobody)
