"""Groups that one command may change: those of a port in one network namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.errors import LocalityError

if TYPE_CHECKING:
    from locality.reuseport.survey import FoundGroup


def of_one_server(found: list[FoundGroup]) -> list[FoundGroup]:
    """The groups, if there are any and they are of one network namespace.

    Raises:
        LocalityError: There are none, or they are of several.
    """
    if not found:
        raise LocalityError(
            "no such SO_REUSEPORT group of TCP or UDP was found: locality groups shows all that "
            "there are"
        )
    return of_one_namespace(found)


def of_one_namespace(found: list[FoundGroup]) -> list[FoundGroup]:
    """The groups, if they are all of one network namespace.

    Raises:
        LocalityError: They are of several.
    """
    if len(namespaces := sorted({str(one.netns) for one in found})) > 1:
        raise LocalityError(
            f"this port has groups in {len(namespaces)} network namespaces: choose one by --netns "
            f"({', '.join(namespaces)}) or --pid; locality groups shows them"
        )
    return found
