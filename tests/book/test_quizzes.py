"""Quizzes: four questions a part, one right choice each, a reason for every choice."""

from __future__ import annotations

import re
from pathlib import Path

import build
import pytest
import yaml

BOOK = Path(build.__file__).parent
PARTS = [
    [Path(page["file"]).name for page in part["chapters"]]
    for part in yaml.safe_load((build.ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    if part["caption"] != "Appendix"
]
CHOICE = re.compile(
    r"^<details><summary>([A-D])\. (.+?)</summary>\n\n\*\*(Right|No)\.\*\* (.+?)\n</details>$",
    re.MULTILINE | re.DOTALL,
)


def questions(page: str) -> list[list[tuple[str, str, str, str]]]:
    """Return the choices of each question: letter, choice, verdict, reason."""
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    return [CHOICE.findall(question) for question in re.split(r"^## ", text, flags=re.M)[1:]]


def test_each_part_ends_with_its_quiz() -> None:
    """In the order of the parts, and nowhere else."""
    assert [part[-1] for part in PARTS] == [f"quiz_{k + 1}" for k in range(len(PARTS))]
    listed = [page for part in PARTS for page in part if page.startswith("quiz")]
    assert len(listed) == len(PARTS) == len(list(BOOK.glob("quiz_*.md")))


@pytest.mark.parametrize("page", [part[-1] for part in PARTS])
def test_each_choice_has_its_reason(page: str) -> None:
    """Four questions of three or four choices; each says why, exactly one is right."""
    asked = questions(page)
    assert len(asked) == 4
    for choices in asked:
        assert [letter for letter, *_ in choices] == list("ABCD")[: len(choices)]
        assert 3 <= len(choices) <= 4
        assert [verdict for _, _, verdict, _ in choices].count("Right") == 1
        reasons = [" ".join(reason.split()) for *_, reason in choices]
        assert min(map(len, reasons)) > 40 and len(set(reasons)) == len(reasons)
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    assert text.count("<details") == sum(map(len, asked)), "a choice is not written as the others"


def test_right_choices_are_not_given_away() -> None:
    """Neither by their place nor by their length."""
    right = [
        next((k, choices) for k, choice in enumerate(choices) if choice[2] == "Right")
        for part in PARTS
        for choices in questions(part[-1])
    ]
    places = [place for place, _ in right]
    assert all(places.count(place) <= len(places) / 2 for place in places)
    assert set(places) == set(range(4))
    longest = [max(range(len(c)), key=lambda k: len(c[k][1])) == place for place, c in right]
    assert sum(longest) <= len(right) / 2, f"the longest choice is right {sum(longest)} times"
