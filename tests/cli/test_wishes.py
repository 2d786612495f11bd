"""What a person says with options, and what is said of it when it is wrong."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lookonce.cli.wishes import anchors_from_text, labels_from_file, size_from_text, std_from_text, three_from_text
from lookonce.errors import ModelRefused


def mean_from_text(text: str) -> tuple[float, float, float]:
    return three_from_text(text, "--mean")


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (mean_from_text, "nan,0,0", "is not 3 numbers"),
        (mean_from_text, "0,inf,0", "is not 3 numbers"),
        (mean_from_text, "0,0", "is not 3 numbers"),
        (std_from_text, "255,0,255", "a number of 0 or less"),
        (std_from_text, "255,-1,255", "a number of 0 or less"),
        (std_from_text, "inf,1,1", "is not 3 numbers"),
        (anchors_from_text, "1,2 3,4 0,5", "a side of 0 or less"),
        (anchors_from_text, "1,2 3,4 5,-5", "a side of 0 or less"),
        (anchors_from_text, "1,2 3,4 5,nan", "is not 2 numbers"),
        (anchors_from_text, "", "has 0 pairs"),
        (size_from_text, "9" * 5000 + "x640", "is not a size"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(read: Callable[[str], object], text: str, sentence: str) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        read(text)


@pytest.mark.parametrize(
    "text",
    ["\ufeffcat\ndog\n", "cat\r\n\r\n dog ", "\x1bcat\x07\ndog", '{"0": "cat", "1": "dog"}', "{1: 'dog', 0: 'cat'}"],
)
def test_labels_are_read_however_they_were_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(text.encode())
    assert labels_from_file(path) == ("cat", "dog")


@pytest.mark.parametrize("text", ["cat\ndog\ncat\n", '["cat", "dog", "cat"]', "cat\n\ufeffcat"])
def test_a_label_given_twice_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(ModelRefused, match="names the class 'cat' more than once"):
        labels_from_file(path)


def test_labels_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes("Käse".encode("latin-1"))
    for name in ("pipe", "latin", "absent", ".", "a\0b"):
        with pytest.raises(ModelRefused, match="cannot be read as text"):
            labels_from_file(tmp_path / name)
