import os
import subprocess
from pathlib import Path

import pytest

from lookonce.errors import LocalTritonFailed
from lookonce.local.environment import (
    Environment,
    Machine,
    libpython_folder,
    locked_packages,
    missing_wheel,
    prepare,
    refuse_numpy_2,
)

HERE = Machine("Linux", "x86_64", ("glibc", "2.36"), (3, 11))

MACHINES = (
    (HERE, None),
    (Machine("Linux", "x86_64", ("glibc", "2.35"), (3, 13)), None),
    (Machine("Darwin", "arm64", ("", ""), (3, 12)), "no Triton wheel for Darwin on arm64"),
    (Machine("Linux", "aarch64", ("glibc", "2.39"), (3, 12)), "no Triton wheel for Linux on aarch64"),
    (
        Machine("Linux", "x86_64", ("glibc", "2.31"), (3, 11)),
        "needs glibc 2.35 or newer and this machine has glibc 2.31",
    ),
    (Machine("Linux", "x86_64", ("", ""), (3, 11)), "this machine has another C library"),
    (Machine("Linux", "x86_64", ("glibc", "2.41"), (3, 14)), "reaches Python 3.13 and this is 3.14"),
)


@pytest.mark.parametrize(("machine", "why"), MACHINES, ids=str)
def test_a_machine_without_a_wheel_is_told_why(machine: Machine, why: str | None) -> None:
    told = missing_wheel(machine)
    assert (told is None) if why is None else (told is not None and why in told)


def test_a_python_without_its_library_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(
        LocalTritonFailed, match=r"libpython3\.11\.so\.1\.0 is missing.*`apt-get install libpython3\.11`"
    ):
        libpython_folder("libpython3.11.so.1.0", [tmp_path, tmp_path / "lib"])


def test_the_library_is_found_in_the_first_folder_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libpython3.11.so.1.0").touch()
    assert libpython_folder("libpython3.11.so.1.0", [tmp_path, tmp_path / "lib"]) == tmp_path / "lib"


@pytest.mark.parametrize("installed", [["2.4.0"], ["1.26.4", "2.0.0"], []], ids=str)
def test_numpy_2_beside_triton_is_refused(tmp_path: Path, installed: list[str]) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    for version in installed:
        (site / f"numpy-{version}.dist-info").mkdir()
    with pytest.raises(LocalTritonFailed, match=f"Delete {tmp_path} and run `lookonce up --prepare`"):
        refuse_numpy_2(site)


def test_an_environment_that_is_ready_is_not_built_again(triton_environment: Environment) -> None:
    folder = triton_environment.backends.parent
    before = (folder / "prepared").stat().st_mtime_ns
    assert prepare(folder) == triton_environment
    assert (folder / "prepared").stat().st_mtime_ns == before


def test_triton_sees_its_own_python_and_no_other(triton_environment: Environment) -> None:
    variables = triton_environment.variables({"PATH": "/bin", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/y", "HOME": "/z"})
    assert variables["PATH"] == f"{triton_environment.python_folder}{os.pathsep}/bin"
    assert variables.keys() == {"PATH", "HOME", "LD_LIBRARY_PATH"}


def test_every_locked_package_has_a_hash() -> None:
    text = locked_packages().read_text()
    packages = [block for block in text.split("\n") if "==" in block and not block.startswith((" ", "#"))]
    assert len(packages) > 20
    assert all(line.endswith("\\") for line in packages)


def test_an_installation_that_fails_says_so_and_is_not_taken_for_a_whole_one(
    triton_environment: Environment, lookonce: Path, tmp_path: Path
) -> None:
    command = [lookonce, "up", "--prepare", "--environment", tmp_path / "new"]
    no_packages = os.environ | {"PIP_NO_INDEX": "1"}
    done = subprocess.run(command, env=no_packages, capture_output=True, text=True, check=False)
    assert done.returncode == 50
    assert "the local Triton could not be installed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new" / "prepared").exists()


def test_an_environment_that_cannot_be_written_says_so(triton_environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalTritonFailed, match=r"cannot be written: .*; name another folder"):
        prepare(tmp_path / "file" / "triton")
