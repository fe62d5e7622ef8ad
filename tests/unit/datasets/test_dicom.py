"""DICOM files, where pydicom is installed: grey levels of any depth, white whichever way it is stored."""

import numpy as np
import pytest

from gsa_utils.datasets.folder import load_image_folder
from gsa_utils.files.reader import Reader

pydicom = pytest.importorskip("pydicom")


def write(path, pixels, photometric="MONOCHROME2", bits=12, signed=0):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, bits, bits - 1, signed
    data.PixelData = pixels.astype(np.int16 if signed else np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_twelve_bits_become_eight_and_inverted_ones_are_turned(tmp_path):
    levels = np.linspace(0, 4095, 64).reshape(8, 8)
    write(tmp_path / "plain.dcm", levels)
    write(tmp_path / "inverted.dcm", 4095 - levels, "MONOCHROME1")
    read = Reader.of([tmp_path / "plain.dcm", tmp_path / "inverted.dcm"], 8)
    plain, inverted = read(tmp_path / "plain.dcm"), read(tmp_path / "inverted.dcm")
    assert read.white == 4095
    assert plain.shape == (1, 8, 8)
    assert plain.min() == 0
    assert plain.max() == 255
    assert np.abs(plain.astype(int) - inverted).max() <= 1


def test_signed_numbers_begin_at_their_lowest(tmp_path):
    write(tmp_path / "ct.dcm", np.arange(64).reshape(8, 8) * 20 - 1000, signed=1)
    pixels = Reader.of([tmp_path / "ct.dcm"], 8)(tmp_path / "ct.dcm")
    assert pixels.min() == 0
    assert pixels[0, -1, -1] == pixels.max()


def test_a_folder_of_dicom_files_is_a_set(tmp_path):
    for number in range(20):
        write(tmp_path / ("ill" if number % 2 else "well") / f"{number}.dcm", np.full((6, 6), 100 * number))
    assert load_image_folder(tmp_path, 4).images.shape == (14, 1, 4, 4)


def test_a_file_that_is_no_dicom_is_named(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"path: got .*x\.dcm, which cannot be read"):
        Reader.of([tmp_path / "x.dcm"], 4)
