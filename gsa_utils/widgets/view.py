"""View: the whole state of the inspector, as whole numbers and as a short text to cite."""

import math
from dataclasses import asdict, dataclass, fields

from gsa_utils.arguments import bad_value

UNIT = 1_000_000  # the threshold is a whole number of these parts, so that a view is restored exactly
BLANKED = ("above", "below", "rectangle")
BACKGROUNDS = ("image", "mean image")


def decimals(low: float, high: float) -> int:
    """How many decimals tell a hundred weights or more apart between these two, of those that a view keeps."""
    return min(max(2 - math.floor(math.log10(max(high - low, 1 / UNIT))), 2), round(math.log10(UNIT)))


@dataclass(frozen=True)
class View:
    """Everything that decides what the panel shows, as whole numbers; `text()` and `parse` write and read it."""

    image: int
    background: int  # of BACKGROUNDS
    opacity: int  # per cent
    threshold: int  # in 1 / UNIT
    epoch: int  # from 0
    row: int
    column: int
    blanked: int  # of BLANKED
    top: int
    bottom: int
    left: int
    right: int
    other: int  # of the runs to compare with

    @property
    def weight(self) -> float:
        """The threshold as a weight."""
        return self.threshold / UNIT

    def check(self, images: int, epochs: int, size: tuple[int, int], thresholds: tuple[int, int], others: int) -> None:
        """Raise a ValueError that names what lies outside these counts, this size or these two thresholds."""
        ends = {"image": images, "background": len(BACKGROUNDS), "opacity": 101, "epoch": epochs}
        ends |= {"row": size[0], "column": size[1], "blanked": len(BLANKED)}
        ends |= {"top": size[0], "bottom": size[0], "left": size[1], "right": size[1], "other": max(1, others)}
        first = {"threshold": thresholds[0], "bottom": self.top, "right": self.left}
        for name, end in {**ends, "threshold": thresholds[1] + 1}.items():
            if not first.get(name, 0) <= getattr(self, name) < end:
                raise bad_value("view", f"{name} {getattr(self, name)}", f"{first.get(name, 0)} to {end - 1}")

    def text(self, run_mark: str) -> str:
        return ".".join([run_mark, *map(str, asdict(self).values())])

    @classmethod
    def parse(cls, text: str, run_mark: str) -> "View":
        """The view of a text.

        Raises:
            ValueError: another text, or the view of another run, image set or comparison.
        """
        mark, *numbers = text.strip().split(".")
        if len(numbers) != len(fields(cls)) or not all(map(_is_whole, numbers)):
            raise bad_value(
                "view", repr(text), f"{len(fields(cls)) + 1} parts divided by dots, as the panel writes them"
            )
        if mark != run_mark:
            came = f"the view {mark} of another run, image set or comparison"
            raise bad_value("view", came, f"one of this, {run_mark}")
        return cls(*map(int, numbers))


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
