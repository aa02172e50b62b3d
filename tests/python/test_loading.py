# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Command lines of ranks and of `python -m rankcall`, and finding classes. No jobs."""

import sys

import pytest

from rankcall.__main__ import run_line
from rankcall._loading import enter_folder, load_class
from rankcall._options import Options, parse_options


@pytest.mark.parametrize(
    "line",
    (
        "--socket /s --queue 3 --debug pack.module:Class --torch off -- x -y",
        "pack.module:Class --torch=off --debug --queue 3 --socket /s -- x -y",
        "--socket /s --queue 3 --debug -- --torch off pack.module:Class -- x -y",
    ),
)
def test_options_of_the_launcher_and_of_the_rank(line, monkeypatch):
    monkeypatch.delenv("RANKCALL_TORCH", raising=False)
    options = parse_options(line.split())
    assert options.target == "pack.module:Class"
    assert options.native == ["--socket", "/s", "--queue", "3", "--debug"]
    assert options.arguments == ["x", "-y"]
    assert options.torch is False
    assert options.job_name == "Class"
    assert parse_options(["m:C"]).torch is True


@pytest.mark.parametrize(
    "line, text",
    (
        ("", "one MODULE:CLASS is needed"),
        ("a:B c:D", '"c:D" is unexpected'),
        ("--nope a:B", "there is no option --nope"),
        ("--torch maybe a:B", "invalid choice"),
    ),
)
def test_wrong_options_are_told(line, text, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_options(line.split())
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


@pytest.fixture
def modules(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "lw_package").mkdir()
    (tmp_path / "lw_package" / "__init__.py").write_text("")
    (tmp_path / "lw_package" / "inner.py").write_text(
        "import __main__\nfrom rankcall import DistributedWorker\n"
        "class One(DistributedWorker):\n    class Two(DistributedWorker):\n        pass\n"
        "class Other: pass\n"
        "if __name__ == '__main__':\n    raise AssertionError('not guarded')\n"
    )
    (tmp_path / "lw_needs.py").write_text("import lw_missing_thing\n")
    return tmp_path


def test_classes_are_found(modules):
    path = str(modules / "lw_package" / "inner.py")
    assert load_class(Options("lw_package.inner:One")).__name__ == "One"
    assert load_class(Options("lw_package.inner:One.Two")).__qualname__ == "One.Two"
    assert load_class(Options(path + ":One")).__name__ == "One"
    assert load_class(Options("__main__:One", file=path)).__module__ == "__rankcall_main__"


@pytest.mark.parametrize(
    "target, kind, text",
    (
        ("lw_nowhere:One", ModuleNotFoundError, 'there is no module "lw_nowhere" .*looked for in:'),
        ("lw_package.nowhere:One", ModuleNotFoundError, 'there is no module "lw_package.nowhere"'),
        ("lw_needs:One", ModuleNotFoundError, "No module named 'lw_missing_thing'"),
        ("lw_package.inner:Three", ImportError, 'no class "Three" in the module "lw_package.inner" .*its workers are: One'),
        ("lw_package.inner:Other", TypeError, "is no subclass of rankcall.DistributedWorker"),
        ("/no/such/file.py:One", ImportError, "there is no file /no/such/file.py"),
        ("One", ImportError, "MODULE:CLASS is needed"),
    ),
)
def test_what_is_not_found_is_said(target, kind, text, modules):
    with pytest.raises(kind, match="(?s)" + text):
        load_class(Options(target))


def test_the_folder_is_entered(modules, monkeypatch):
    monkeypatch.chdir("/")
    enter_folder(Options("a:B", cwd=str(modules), path=["/x", "/y"], arguments=["-v"]))
    assert sys.path[:2] == ["/x", "/y"]
    assert sys.argv == ["a:B", "-v"]


def test_run_puts_everything_in_its_place():
    line = run_line("rankcall", ["-n", "4", "m:C", "--path", "/x", "--setup", "{}", "--json", "--", "own"])
    assert line == [
        *["rankcall", "run", "-n", "4", "--setup", "{}", "--json", "--name", "C", "--"],
        sys.executable,
        *["-m", "rankcall.worker", "{}", "--path", "/x", "m:C", "--", "own"],
    ]
    assert "--name" not in run_line("rankcall", ["--socket=/s", "m:C"])[:4]
    with pytest.raises(SystemExit):
        run_line("rankcall", ["-n", "4"])
