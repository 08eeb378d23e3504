"""Where files go that can be made again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from robustsnn.files import usable_cache


def nowhere():
    raise RuntimeError("no home")


@pytest.mark.parametrize("home", ["a file", "a folder that is none", nowhere], ids=["a file", "no folder", "none"])
def test_without_a_home_that_can_be_written_they_are_temporary(home, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "a file").touch()
    place = tmp_path / "a file" / "below" if home == "a folder that is none" else tmp_path / str(home)
    monkeypatch.setattr(Path, "home", staticmethod(home if callable(home) else lambda: place))
    assert usable_cache().parent == Path(tempfile.gettempdir())


def test_they_are_in_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert usable_cache() == tmp_path / "cache" / "robustsnn"
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"
