"""A decoder in a process of its own: the same pixels, one error for a crash, and no process left."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ct_objects import voxels, write_ct

from negvol_pacs.series import isolation
from negvol_pacs.series.isolation import Decoder, DecoderFailed


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    if not shutil.which("dcmcjpeg"):
        pytest.skip("dcmtk is not installed")
    (path,) = write_ct(tmp_path, voxels((1, 33, 31)))
    subprocess.run(["dcmcjpeg", "+e1", path, path], check=True)
    return path


def crashing(jpeg: Path) -> Path:
    path = jpeg.with_name("crash.dcm")
    path.write_bytes(jpeg.read_bytes().replace(b"\xff\xc4\x00\x1f", b"\x3c\xc4\x00\x1f"))  # GDCM 3.2 aborts on this
    return path


def test_one_child_decodes_many_files_and_survives_refusals(jpeg):
    with Decoder() as decoder:
        children = set()
        for _ in range(3):
            (pixels,) = decoder.frames(jpeg, "gdcm")
            np.testing.assert_array_equal(pixels, voxels((1, 33, 31))[0])
            children.add(decoder._child.pid)
        assert len(children) == 1
        with pytest.raises(DecoderFailed, match="No such file"):
            list(decoder.frames(jpeg.with_name("absent"), "gdcm"))
        (pixels,) = decoder.frames(jpeg, "gdcm")
        assert pixels.dtype == np.int16
        child = decoder._child
    assert child.poll() is not None


def test_a_crash_is_an_error_and_the_next_file_has_a_new_child(jpeg):
    with Decoder() as decoder:
        with pytest.raises(DecoderFailed):
            list(decoder.frames(crashing(jpeg), "gdcm"))
        (pixels,) = decoder.frames(jpeg, "gdcm")
        np.testing.assert_array_equal(pixels, voxels((1, 33, 31))[0])


def test_a_child_that_dies_between_files_is_noticed(jpeg):
    with Decoder() as decoder:
        list(decoder.frames(jpeg, "gdcm"))
        decoder._child.kill()
        decoder._child.wait()
        with pytest.raises((DecoderFailed, BrokenPipeError)):
            list(decoder.frames(jpeg, "gdcm"))
        assert len(list(decoder.frames(jpeg, "gdcm"))) == 1


def test_a_decoder_that_does_not_come_back_is_given_up(jpeg, monkeypatch):
    monkeypatch.setattr(isolation, "_FRAME_S", 0.001)
    with Decoder() as decoder, pytest.raises(DecoderFailed, match="did not answer"):
        list(decoder.frames(jpeg, "gdcm"))


def test_nothing_is_started_for_uncompressed_pixels():
    with Decoder() as decoder:
        assert decoder._child is None
