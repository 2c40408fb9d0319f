"""The compiled probes: which object is for this machine and its kernel."""

from __future__ import annotations

import platform
from pathlib import Path

from locality.bpf.btf import kernel
from locality.errors import LocalityError, Unsupported

PROBES = Path(__file__).parent.parent / "probes"


def object_file(name: str) -> Path:
    """The object of a probe: ``NAME.MACHINE.bpf.o``, or ``NAME-uncast.MACHINE.bpf.o``.

    A probe that calls bpf_rdonly_cast() was compiled without it, too, for kernels that do not have
    it: libbpf would seek it in the types of all modules, for which it needs CAP_SYS_ADMIN (before
    libbpf 1.5).

    Raises:
        Unsupported: The probes are not compiled for this architecture.
        LocalityError: The object was not built.
    """
    machine = platform.machine()
    path = PROBES / f"{name}.{machine}.bpf.o"
    without_cast = PROBES / f"{name}-uncast.{machine}.bpf.o"
    if without_cast.is_file() and not _casts():
        return without_cast
    if path.is_file():
        return path
    if others := sorted(one.name.split(".")[1] for one in PROBES.glob(f"{name}.*.bpf.o")):
        raise Unsupported(
            f"the probe {name} was compiled for {' and '.join(others)}, and this machine is "
            f"{machine}"
        )
    raise LocalityError(f"the probe {path.name} was not built: run make probes")


def _casts() -> bool:
    try:
        return kernel().has_function("bpf_rdonly_cast")
    except Unsupported:  # no BTF: bcc takes the maps and the layouts from the object, no programs
        return False
