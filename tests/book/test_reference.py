"""Reference pages: every name imports, every term is linked from one place only."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import build
import pytest

BOOK = Path(build.__file__).parent


def resolve(dotted: str) -> object:
    """Return what a dotted name stands for; the longest importable prefix is the module."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("page", ["code_map.md", "notation.md"])
def test_each_name_on_the_page_imports(page: str) -> None:
    """`lda_lib.some.name` in backticks is a promise."""
    names = re.findall(r"`(lda_lib[\w.]*)`", (BOOK / page).read_text(encoding="utf-8"))
    assert names
    for name in names:
        assert resolve(name) is not None


def test_settings_named_in_the_map_exist() -> None:
    """The table of differences names settings that a user can set."""
    import inspect

    from lda_lib import PPOConfig, influence
    from lda_lib.config import PRESETS

    text = (BOOK / "code_map.md").read_text(encoding="utf-8")
    fields = set(re.findall(r"`PPOConfig\.(\w+)`", text))
    assert fields and fields <= set(PPOConfig.__dataclass_fields__)
    arguments = set(re.findall(r"`(\w+)` of `influence`", text))
    assert arguments and arguments <= set(inspect.signature(influence).parameters)
    assert set(re.findall(r'`"(\w+)"`', text)) <= set(PRESETS)


def test_terms_stand_in_the_glossary_once() -> None:
    """A term has one entry."""
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    body = text.split("```{glossary}\n")[1].split("```")[0]
    terms = [line for line in body.splitlines() if line and not line.startswith(" ")]
    assert len(terms) == len(set(terms)) >= 30


def test_the_api_page_shows_every_public_name() -> None:
    """A name that is exported is documented; a name that is documented exists."""
    import lda_lib
    import lda_lib.rlhf
    import lda_lib.sb3

    text = (BOOK / "api.md").read_text(encoding="utf-8")
    shown = set()
    for block in text.split("```{eval-rst}")[1:]:
        where = re.search(r"currentmodule:: (\S+)", block)
        for name in re.findall(r"auto(?:class|function):: (\S+)", block):
            found = resolve(name if name.startswith("lda_lib") else f"{where.group(1)}.{name}")
            assert found.__doc__, name
            shown.add(found)
    for package in (lda_lib, lda_lib.rlhf, lda_lib.sb3):
        public = {
            getattr(package, name)
            for name in package.__all__
            if name != "__version__" and callable(getattr(package, name))
        }
        assert public <= shown, sorted(x.__name__ for x in public - shown)


def test_set_up_takes_its_commands_from_the_readme() -> None:
    """The part of the README that the page shows is found, once, and installs the project."""
    page = (BOOK / "setup.md").read_text(encoding="utf-8")
    readme = (build.ROOT / "README.md").read_text(encoding="utf-8")
    start, end = re.findall(r':(?:start-after|end-before): "(.+)"', page)
    assert readme.count(start) == 1 and readme.count(end) == 1
    part = readme.split(start)[1].split(end)[0]
    for command in ("make book", "python3 -m venv .venv", "pip install -r requirements.txt"):
        assert command in part and command not in page
