"""A file is there whole or not at all, and content is known again."""

import pytest
import torch

from gsa_utils.files import checksum, whole_file


def test_what_raises_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    with whole_file(path) as file:
        file.write(b"old")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"new", None])
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_seen_under_its_name_before_it_is_whole(tmp_path):
    with whole_file(tmp_path / "file.bin") as file:
        file.write(b"half")
        file.flush()
        assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin").read_bytes() == b"half"


def test_a_checksum_is_of_the_content_whatever_holds_it():
    values = torch.arange(12.0).reshape(3, 4)
    assert checksum(values) == checksum(values.t().contiguous().t()) == checksum(values[:1], values[1:])
    assert checksum("123456789") == "cbf43926"  # the check value of CRC-32
    others = [values.bfloat16(), values.int(), values + 1, values.flip(0)]
    assert len({checksum(one) for one in [values, *others]}) == 5
