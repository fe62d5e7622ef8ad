"""Files: whole or not at all, known again by what they were made from; and images of any kind as pixels."""

from gsa_utils.files.whole import DataUnavailable, checksum, file_checksum, whole_file

__all__ = ["DataUnavailable", "checksum", "file_checksum", "whole_file"]
