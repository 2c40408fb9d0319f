"""What to say of a package that a command needs and that cannot be imported."""

from __future__ import annotations

import sys

#: What installs a module that is not called as its package is.
_INSTALLED_AS = {
    "duckdb": "ibis-framework[duckdb]",
    "ibis": "ibis-framework[duckdb]",
    "pyarrow_hotfix": "ibis-framework[duckdb]",
    "pyspark": "ibis-framework[pyspark]",
}
#: What Debian has of what locality needs. pip does not install for Debian's Python (PEP 668).
_IN_DEBIAN = {"click", "matplotlib", "numpy", "pandas", "prometheus_client", "rich"}
#: A virtual environment that sees Debian's packages, and locality among them.
_ENVIRONMENT = "/opt/locality"


def import_failed(error: ImportError) -> str | None:
    """A line that names the package and what installs it; None for a fault of this program.

    Args:
        error: What importing a module raised, perhaps a module of another package.
    """
    package = (error.name or "").partition(".")[0]
    if package == "locality":
        return None
    cause: BaseException = error
    while (before := cause.__cause__ or cause.__context__) is not None:
        cause = before
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        package = cause.name.partition(".")[0]
        return (
            f"this needs the Python package {package}, which is not installed: "
            f"{_what_installs(package)}"
        )
    said = (str(cause).strip().splitlines() or ["no reason given"])[0]
    return f"a Python package{f' ({package})' * bool(package)} cannot be loaded: {said}"


def _what_installs(package: str) -> str:
    """The command that installs a package for the Python that runs this."""
    # Every command would pay for these.
    import shlex
    import sysconfig
    from pathlib import Path

    wanted = shlex.quote(_INSTALLED_AS.get(package, package))
    if "_bootstrap" in sys.modules:  # of shiv: this is the one file
        return "the one file does not have it; install the wheel"
    of_the_system = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    if sys.prefix != sys.base_prefix or not of_the_system:
        return f"{shlex.quote(sys.executable)} -m pip install {wanted}"
    if package in _IN_DEBIAN and Path("/usr/bin/apt-get").exists():
        return f"apt-get install python3-{package.replace('_', '-')}"
    if package == "pyarrow":  # that needs a newer numpy than Debian 12 has
        wanted = "--ignore-installed pyarrow numpy"
    python = f"{_ENVIRONMENT}/bin/python"
    return (
        f"{shlex.quote(sys.executable)} -m venv --system-site-packages {_ENVIRONMENT}; "
        f"{python} -m pip install {wanted}; {python} -I -m locality"
    )
