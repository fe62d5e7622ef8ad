"""The two sentences every complaint about an argument is made of: what came, and what was expected."""

import difflib
from collections.abc import Iterable


def bad_value(argument: str, came: object, expected: str) -> ValueError:
    """A ValueError that names the argument, what came and what was expected; the caller raises it."""
    return ValueError(f"{argument}: got {came}, expected {expected}")


def unknown_name(argument: str, came: object, names: Iterable[str]) -> ValueError:
    """A ValueError for a name outside a fixed list; it puts the nearest valid names first."""
    names = list(names)
    near = difflib.get_close_matches(str(came).lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return bad_value(argument, repr(came), f"{hint}one of {', '.join(names[:40])}{', ...' if len(names) > 40 else ''}")
