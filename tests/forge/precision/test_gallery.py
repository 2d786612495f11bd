"""Pictures from folders and drawn ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lookonce.errors import ModelRefused
from lookonce.forge.gallery import Gallery, drawn, in_folder, read
from lookonce.vision.letterbox import Fit, Geometry

GEOMETRY = Geometry(64, 64)


def red_over_blue(width: int, height: int) -> NDArray[np.uint8]:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, :, 0] = 255
    picture[height // 2 :, :, 2] = 255
    return picture


def is_red(pixel: NDArray[np.uint8]) -> bool:
    return bool(pixel[0] > 200 and pixel[2] < 60)


def write(path: Path, picture: NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return path


def turned_by_exif(path: Path, picture: NDArray[np.uint8]) -> Path:
    """A JPEG whose EXIF says that its left side is the picture's top (orientation 6)."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    body = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    path.write_bytes(jpeg.tobytes()[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body + jpeg.tobytes()[2:])
    return path


def test_an_empty_folder_gives_an_empty_gallery(tmp_path: Path) -> None:
    gallery = in_folder(tmp_path, GEOMETRY, 10)
    assert (len(gallery), gallery.remarks, list(gallery)) == (0, (), [])


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "PNG"])
def test_every_kind_of_picture_is_read_in_rgb(tmp_path: Path, suffix: str) -> None:
    pixels = read(write(tmp_path / f"a.{suffix}", red_over_blue(32, 32)))
    assert pixels is not None
    assert is_red(pixels[4, 16])


def test_exif_turns_the_picture_upright(tmp_path: Path) -> None:
    pixels = read(turned_by_exif(tmp_path / "a.jpg", red_over_blue(32, 16)))
    assert pixels is not None
    assert pixels.shape == (32, 16, 3)
    assert is_red(pixels[16, 14])


def test_pictures_are_letterboxed_as_the_geometry_says(tmp_path: Path) -> None:
    write(tmp_path / "wide.png", red_over_blue(200, 40))
    (centred,) = in_folder(tmp_path, GEOMETRY, 10)
    (stretched,) = in_folder(tmp_path, Geometry(64, 64, Fit.STRETCH), 10)
    assert centred.shape == stretched.shape == (64, 64, 3)
    assert (centred[0] == 114).all()
    assert not (stretched[0] == 114).any()


def test_unreadable_pictures_are_named_and_other_files_ignored(tmp_path: Path) -> None:
    write(tmp_path / "good.png", red_over_blue(32, 32))
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / "folder.png").mkdir()
    gallery = in_folder(tmp_path, GEOMETRY, 10)
    assert [gallery.name(place) for place in range(len(gallery))] == ["good.png"]
    assert gallery.remarks == ("2 could not be read: empty.jpg, text.png.",)


def test_the_first_ones_by_name_are_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    for name in "dbcae":
        write(tmp_path / f"{name}.png", red_over_blue(32, 32))
    gallery = in_folder(tmp_path, GEOMETRY, 3)
    assert [gallery.name(place) for place in range(3)] == ["a.png", "b.png", "c.png"]
    assert gallery.remarks == ("2 more were left out.",)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="no folder"):
        in_folder(tmp_path / "missing", GEOMETRY, 10)


def test_a_picture_that_vanishes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", red_over_blue(32, 32))
    gallery = in_folder(tmp_path, GEOMETRY, 10)
    path.unlink()
    with pytest.raises(ModelRefused, match="can no longer be read"):
        list(gallery)


def test_drawn_pictures_are_the_same_every_time_and_of_several_shapes() -> None:
    first, second = drawn(Geometry(96, 96), 8), drawn(Geometry(96, 96), 8)
    assert all((one == other).all() for one, other in zip(first, second, strict=True))
    padded = [bool((picture[0] == 114).all() or (picture[:, 0] == 114).all()) for picture in first]
    assert set(padded) == {True, False}


def test_a_part_of_a_gallery_is_a_gallery() -> None:
    part = drawn(GEOMETRY, 8)[:3]
    assert isinstance(part, Gallery)
    assert len(part) == 3
