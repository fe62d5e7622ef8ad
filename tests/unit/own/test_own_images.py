"""Images of a folder or a table: what is found, what is left out and why, and whose they are."""

import numpy as np
import pytest
import torch
from PIL import Image

from gsa_utils.own.findings import find
from gsa_utils.own.images import list_images, read_images

RANDOM = np.random.default_rng(0)


def draw(path, seed=None, size=(24, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = RANDOM if seed is None else np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 255, size, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of twelve images; a person has two of a class."""
    for name in ("ill", "well"):
        for i in range(12):
            draw(tmp_path / "set" / name / f"p{i // 2}{name[0]}_{i}.png")
    return tmp_path / "set"


def test_a_folder_gives_all_its_images_with_classes_and_persons(folder):
    found = read_images(folder, 16, persons=r"p\w+?(?=_)", progress=False)
    assert found.image_set.images.shape == (24, 1, 16, 16)
    assert found.image_set.class_names == ("ill", "well")
    assert found.image_set.class_counts == (12, 12) or list(found.image_set.class_counts) == [12, 12]
    assert len(found.image_set.groups.unique()) == 12
    assert found.left_out == []


def test_split_folders_count_as_one_and_deeper_folders_are_searched(folder):
    for split, i in (("train", 0), ("test", 1)):
        draw(folder / split / "ill" / "deeper" / f"new{i}.png")
    listed, _ = list_images(folder)
    assert sum(one.label == "ill" for one in listed) == 14


def test_files_that_cannot_be_read_are_left_out_with_the_reason(folder):
    (folder / "ill" / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "ill" / "notes.txt").write_text("x")
    draw(folder / "loose.png")
    found = read_images(folder, 16, progress=False)
    reasons = {file.name: why for file, why in found.left_out}
    assert set(reasons) == {"broken.png", "notes.txt", "loose.png"}
    assert "identify" in reasons["broken.png"]
    assert reasons["loose.png"] == "in no class folder"
    assert len(found.image_set) == 24


def test_a_table_gives_the_same_as_the_folder(folder, tmp_path):
    listed, _ = list_images(folder)
    rows = [f"set/{one.file.relative_to(folder).as_posix()},{one.label},{one.file.name[:2]}" for one in listed]
    (tmp_path / "table.csv").write_text("\ufefffile,label,person\n" + "\n".join(rows) + "\n", encoding="utf-8")
    from_table, from_folder = (
        read_images(tmp_path / "table.csv", 16, progress=False),
        read_images(folder, 16, progress=False),
    )
    assert torch.equal(from_table.image_set.images, from_folder.image_set.images)
    assert torch.equal(from_table.image_set.labels, from_folder.image_set.labels)
    assert len(from_table.image_set.groups.unique()) == 6
    assert from_folder.image_set.groups is None


def test_of_more_images_than_wanted_some_are_drawn_and_the_rest_is_said(folder):
    found = read_images(folder, 16, most=22, progress=False)
    assert len(found.image_set) == 22
    assert "2 images more" in found.left_out[0][1]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"source: got .*of no row"),
        ("name,label\na.png,ill\n", r"source: got .*columns name, label"),
        ("file,label\na.png,\n", r"source: got .*line 2, without"),
        ("file,label\na.png,ill\n", r"source: got .*\['ill'\], expected images of at least two classes"),
    ],
)
def test_tables_without_what_is_needed_are_refused(tmp_path, text, match):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=match):
        list_images(tmp_path / "table.csv")


def test_a_table_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "table.csv").write_bytes("file,label\nä.png,ill\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"source: got .*expected a CSV in UTF-8"):
        list_images(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("pattern", "match"), [("q", r"persons: got 'q', expected a pattern that is found"), ("(", "regular expression")]
)
def test_patterns_that_find_nobody_are_refused(folder, pattern, match):
    with pytest.raises(ValueError, match=match):
        list_images(folder, pattern)


def test_a_class_with_too_few_images_is_refused(folder):
    for file in sorted((folder / "ill").iterdir())[5:]:
        file.unlink()
    with pytest.raises(ValueError, match=r"source: got 5 of ill, 12 of well that can be read, expected at least 10"):
        read_images(folder, 16, progress=False)


def test_copies_near_copies_leaks_and_contradictions_are_found(folder):
    first = np.asarray(Image.open(folder / "ill" / "p0i_0.png"))
    Image.fromarray(first).save(folder / "ill" / "p9i_copy.png")
    Image.fromarray((first * 0.98).astype(np.uint8)).save(folder / "well" / "p9w_near.png")
    found = read_images(folder, 20, persons=r"p\w+?(?=_)", progress=False)
    findings = find(found.image_set)
    names = [file.name for file in found.files]
    assert [{names[a], names[b]} for a, b in findings.copies] == [{"p0i_0.png", "p9i_copy.png"}]
    assert {frozenset({names[a], names[b]}) for a, b in findings.near} == {
        frozenset({"p0i_0.png", "p9w_near.png"}),
        frozenset({"p9i_copy.png", "p9w_near.png"}),
    }
    assert len(findings.leaks) == 3
    assert len(findings.contradictions) == 2
    said = " ".join(findings.sentences)
    assert "1 pairs of images have the same pixels" in said
    assert "2 of these pairs are of different classes" in said


def test_a_set_without_copies_and_persons_says_so(folder):
    findings = find(read_images(folder, 16, progress=False).image_set)
    assert (findings.copies, findings.near, findings.persons) == ([], [], None)
    assert "Nobody said who is who" in " ".join(findings.sentences)
