"""Who is in two sets? Sets that are loaded separately number their people anew, so they are compared by their names."""

import warnings
from collections.abc import Collection
from hashlib import blake2b

from gsa_utils.images import ImageSet


def group_keys(image_set: ImageSet) -> dict[str, str]:
    """Checksum of its name -> name, of every group: alike in all sets that have it, and a stranger reads no name.

    Empty where nobody said who is who.
    """
    if image_set.groups is None:
        return {}
    numbers, names = image_set.groups.unique().tolist(), image_set.group_names
    found = map(str, numbers) if names is None else (names[number] for number in numbers)
    return {blake2b(name.encode(errors="replace"), digest_size=8).hexdigest(): name for name in found}


def warn_of_known(argument: str, image_set: ImageSet, known: Collection[str], stacklevel: int) -> None:
    """Warn where groups of a set, by `group_keys`, are among those that a model was trained on."""
    keys = group_keys(image_set)
    if shared := sorted(name for key, name in keys.items() if key in known):
        came = f"{len(shared)} of {len(keys)} groups that the model was trained on ({', '.join(shared[:3])})"
        expected = "people or patients that it has not met: its scores say nothing of new ones"
        warnings.warn(f"{argument}: got {came:.200}, expected {expected}", stacklevel=stacklevel + 1)
