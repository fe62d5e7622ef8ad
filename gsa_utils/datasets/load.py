"""Image sets by name, found on disk or downloaded once and verified.

What each named set is, its source, licence, checksum and citation, and where its files land: data/README.md.
"""

import os
from dataclasses import replace

import torch

from gsa_utils.arguments import check_name, unknown_name
from gsa_utils.datasets import medmnist
from gsa_utils.datasets.chest import COLLECTIONS, load_chest
from gsa_utils.datasets.download import data_root
from gsa_utils.datasets.london import load_london_faces
from gsa_utils.datasets.phantoms import PHANTOMS, load_phantom
from gsa_utils.images import SPLITS, ImageSet


def load_image_set(
    name: str, split: str = "train", size: int | None = None, root: str | os.PathLike | None = None
) -> ImageSet:
    """One split of a named image set: images (N, C, size, size), labels (N,).

    Args:
        name: "phantom-chest", "phantom-retina" or "phantom-face": generated, no file needed, the important region is
            known (phantoms.py). A 2D MedMNIST v2 flag with one label an image, such as "pneumoniamnist" or
            "breastmnist" (https://medmnist.com; CC BY 4.0, but dermamnist CC BY-NC 4.0). "london-faces": 102 people,
            neutral and smiling (https://doi.org/10.6084/m9.figshare.5047666.v5, CC BY 4.0), `groups` says who.
            "kermany-chest": X-rays of children, normal or pneumonia (https://doi.org/10.17632/rscbjbr9sj, CC BY 4.0),
            and "nih-chest": of adults, no finding or a finding (https://nihcc.app.box.com/v/ChestXray-NIHCC; cite Wang
            et al. 2017 and name the NIH Clinical Center); both with `groups`, and never downloaded: chest.py.
        split: "train", "val" or "test": MedMNIST's official ones; the faces and the chests are split by person.
        size: rows and columns. MedMNIST publishes 28 (default), 64, 128 and 224; London faces 96 (default) or less;
            the chest sets 64 (default), kermany-chest up to 224, nih-chest as large as the files that are there.
        root: folder where files are looked for and downloaded to. Default: $GSA_DATA; else data/cache of the checkout
            that this package lies in; else ./data/cache. A read-only folder that holds the file is never written to.

    Raises:
        ValueError: unknown name or split, a size the set does not come in, a MedMNIST set that is 3D or multi-label.
        DataUnavailable: the file is neither there nor downloadable, or is not what it should be.
    """
    check_name("split", split, SPLITS)
    if not isinstance(name, str):
        raise _unknown(name)
    if name in list(PHANTOMS):
        return load_phantom(name, split, size)
    if name == "london-faces":
        return load_london_faces(split, size, data_root(root))
    if name in list(COLLECTIONS):
        return load_chest(name, split, size, data_root(root))
    if name not in list(medmnist.published()):
        raise _unknown(name)
    return medmnist.load_medmnist(name, split, size, data_root(root))


def _unknown(name: object) -> ValueError:
    return unknown_name("name", name, [*PHANTOMS, "london-faces", *COLLECTIONS, *medmnist.flags()])


def load_whole(name: str, size: int | None = None, images: int | None = None) -> ImageSet:
    """All splits of a set as one, for folds of one's own; or about `images` of it, whole people, always the same ones.

    Raises:
        ValueError, DataUnavailable: as `load_image_set`.
    """
    parts = [load_image_set(name, split, size) for split in SPLITS]
    first = parts[0]
    groups = None if first.groups is None else torch.cat([part.groups for part in parts])
    pixels, labels = torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    whole = replace(first, images=pixels, labels=labels, groups=groups, name=name)
    return whole if images is None or images >= len(whole) else whole.split(images / len(whole), seed=0)[0]
