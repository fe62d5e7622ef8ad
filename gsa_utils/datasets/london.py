"""London faces: from the 204 portraits of the Face Research Lab London Set to one small aligned image set.

The portraits were taken alike, so one crop fits all: no face detector, no landmarks. Source: DeBruine & Jones (2017),
https://doi.org/10.6084/m9.figshare.5047666.v5, CC BY 4.0.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gsa_utils.arguments import bad_value
from gsa_utils.datasets.download import DataUnavailable, fetch, read_npz, write_npz
from gsa_utils.images import ImageSet, split_in_three

SOURCE = "https://raw.githubusercontent.com/debruine/webmorphR.stim/fa8b78fda2d659bb74ce62fcd99c4407551d2a77"
CLASS_NAMES = ("neutral", "smiling")
SIDE = 96
CROP = (394, 402, 954, 962)  # left, top, right, bottom of the face in a portrait of 1350 x 1350


def load_london_faces(split: str, size: int | None, root: Path) -> ImageSet:
    """The faces of `split`, (N, 1, size, size); `groups` holds the person's number in the original set.

    Taken from london_faces_96.npz under `root` if that is there; else made from the 204 jpgs, each looked for in
    london_raw/ under `root` and else downloaded (about 100 MB in all; what an interrupted download left is kept).

    Raises:
        ValueError: when `size` is no whole number from 1 to 96.
        DataUnavailable: files missing and not downloadable, or not what they should be.
    """
    size = SIDE if size is None else size
    if size not in range(1, SIDE + 1):
        raise bad_value("size", size, f"a whole number of pixels from 1 to {SIDE}")
    images, labels, people = _load_or_build(root)
    whole = ImageSet(torch.from_numpy(images)[:, None], labels, CLASS_NAMES, people, name="london-faces")
    part = split_in_three(whole)[split]
    if size == SIDE:
        return part
    faces = [
        Image.fromarray(face).resize((int(size), int(size)), Image.Resampling.LANCZOS)
        for face in part.images[:, 0].numpy()
    ]
    return ImageSet(torch.from_numpy(np.stack(faces))[:, None], part.labels, CLASS_NAMES, part.groups, name=part.name)


def crop_face(photo: Path) -> np.ndarray:
    """The face of a portrait, (96, 96) uint8 grey: aligned across portraits, since the originals are."""
    with Image.open(photo) as image:
        return np.asarray(image.crop(CROP).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def originals() -> dict[str, tuple[str, str]]:
    """File name -> (URL, checksum) of the portraits: all neutral ones by person, then all smiling ones."""
    lines = files("gsa_utils.datasets").joinpath("checksums/london_sha256.txt").read_text().split("\n")
    return {Path(path).name: (f"{SOURCE}/{path}", checksum) for path, checksum in map(str.split, filter(None, lines))}


def _load_or_build(root: Path) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Images (204, 96, 96) uint8, labels (204,), people (204,)."""
    path, portraits = root / f"london_faces_{SIDE}.npz", originals()
    people = [int(name[:3]) for name in portraits]  # 001_03.jpg: person 1, 03 neutral, 08 smiling
    labels = [int(name.endswith("_08.jpg")) for name in portraits]
    if path.exists():
        images = _read(path, people, labels)
    else:
        images = np.stack([crop_face(photo) for photo in fetch(root / "london_raw", portraits)])
        write_npz(path, images=images, labels=np.uint8(labels), names=CLASS_NAMES, subject=[f"{p:03d}" for p in people])
    return images, torch.tensor(labels), torch.tensor(people)


def _read(path: Path, people: list[int], labels: list[int]) -> np.ndarray:
    """The images of an npz, whose bytes nobody can know in advance: it is recognised by what it holds."""
    images, labelled, subjects = read_npz(path, "images", "labels", "subject")
    same = subjects.tolist() == [f"{person:03d}" for person in people] and labelled.tolist() == labels
    if not same or images.shape != (len(people), SIDE, SIDE) or images.dtype != np.uint8:
        raise DataUnavailable(
            f"{path} holds {images.dtype} images {images.shape}, expected uint8 ({len(people)}, {SIDE}, {SIDE}) with "
            "the labels and subjects of the London set, in its order. Move it away to have it made again."
        )
    flat = images.reshape(len(images), -1)
    if blank := np.flatnonzero(flat.min(axis=1) == flat.max(axis=1)).tolist():
        raise DataUnavailable(
            f"{path}: {len(blank)} of {len(images)} faces are one colour all over, the first that of person "
            f"{people[blank[0]]}. Move it away to have it made again."
        )
    return images
