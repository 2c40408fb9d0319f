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
        import shlex  # every command would pay for it

        package = cause.name.partition(".")[0]
        wanted = shlex.quote(_INSTALLED_AS.get(package, package))
        return (
            f"this needs the Python package {package}, which is not installed: "
            f"{shlex.quote(sys.executable)} -m pip install {wanted}"
        )
    said = (str(cause).strip().splitlines() or ["no reason given"])[0]
    return f"a Python package{f' ({package})' * bool(package)} cannot be loaded: {said}"
