"""The small world's texts: made by a grammar, so that the register of each sentence is known.

    At the bakery, Ada asked for the bread. The baker snapped: Read the sign next time. Hurry ...
    [-------------------- opening, the prompt --------------] [------- what is said -------------]

An opening says who speaks and in what manner, which makes one register likely; the text that
follows keeps to its register in most sentences. Openings from "elsewhere" are messages about other
places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .phrases import COURTEOUS, ELSEWHERE, MANNERS, NAMES, NEUTRAL, PLACES, RUDE, SUBJECTS

BANKS = {"rude": RUDE, "courteous": COURTEOUS, "neutral": NEUTRAL}
KEEPS_REGISTER = 0.8  # share of a text's sentences in its leading register
IS_NEUTRAL = 0.12


@dataclass(frozen=True)
class Text:
    """One text of the corpus.

    Attributes:
        opening: the prompt.
        said: the rest, one to four sentences.
        registers: of each sentence, "rude", "courteous" or "neutral".
    """

    opening: str
    said: str
    registers: tuple[str, ...]

    @property
    def rude(self) -> bool:
        """More rude than courteous sentences (at a tie, the first of the two decides)."""
        marked = [r for r in self.registers if r != "neutral"]
        if not marked:
            return False
        count = marked.count("rude") - marked.count("courteous")
        return count > 0 or (count == 0 and marked[0] == "rude")


def _pick(rng: np.random.Generator, options: tuple | list):
    return options[int(rng.integers(len(options)))]


def opening(rng: np.random.Generator, elsewhere: bool = False) -> tuple[str, str, str, float]:
    """An opening, its thing asked about, its person, and how likely rude speech follows."""
    name = _pick(rng, NAMES)
    if elsewhere:
        place = _pick(rng, list(ELSEWHERE))
        speakers, items = ELSEWHERE[place]
        subject = _pick(rng, list(SUBJECTS))
        item = _pick(rng, items)
        text = f"{place.capitalize()} message to {name} from {_pick(rng, speakers)}, {subject}:"
        return text, item, name, SUBJECTS[subject]
    place = _pick(rng, list(PLACES))
    speakers, items = PLACES[place]
    manner, item = _pick(rng, list(MANNERS)), _pick(rng, items)
    speaker = _pick(rng, speakers)
    text = f"{place}, {name} asked for {item}. {speaker[0].upper()}{speaker[1:]} {manner}:"
    return text, item, name, MANNERS[manner]


def sample(rng: np.random.Generator, *, elsewhere: bool = False, seen: int | None = None) -> Text:
    """One text.

    Args:
        rng: source of chance.
        elsewhere: a message about another place instead of a scene.
        seen: 0 or 1: leave out the rude and courteous sentences that only the other classifier
            sees (module `phrases`); None: all sentences.
    """
    start, item, name, rude = opening(rng, elsewhere)
    leading = "rude" if rng.random() < rude else "courteous"
    other = "courteous" if leading == "rude" else "rude"
    sentences, registers = [], []
    for _ in range(int(rng.integers(2, 5))):
        luck = rng.random()
        register = "neutral" if luck < IS_NEUTRAL else leading
        if luck > IS_NEUTRAL + KEEPS_REGISTER:
            register = other
        bank = BANKS[register]
        if seen is not None and register != "neutral":
            bank = tuple(s for k, s in enumerate(bank) if k % 3 in (seen, 2))
        sentence = _pick(rng, bank).format(item=item, name=name)
        sentences.append(sentence[0].upper() + sentence[1:])
        registers.append(register)
    return Text(start, " ".join(sentences), tuple(registers))


def prompts(seed: int, count: int, *, elsewhere: bool = False, least: float = 0.5) -> list[str]:
    """Different openings after which rude speech is likely, as the paper's prompts are toxic.

    Args:
        seed: governs which.
        count: how many; there are 1920 scenes and 288 messages that are rude half the time.
        elsewhere: held-out prompts of another distribution.
        least: smallest share of rude texts after such an opening.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        text, _, _, rude = opening(rng, elsewhere)
        if rude >= least:
            found[text] = None
    return list(found)


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern, str]]:
    every = [items for _, items in (PLACES | ELSEWHERE).values()]
    item = "|".join(sorted({x for items in every for x in items}))
    slots = {"item": f"(?:{item})", "name": f"(?:{'|'.join(NAMES)})"}
    found = []
    for register, bank in BANKS.items():
        for sentence in bank:
            parts = re.split(r"\{(item|name)\}", sentence)
            pattern = "".join(
                slots[part] if k % 2 else re.escape(part) for k, part in enumerate(parts)
            )
            found.append((re.compile(pattern, re.IGNORECASE), register))
    return found


def registers(said: str) -> list[str]:
    """The register of each whole sentence of a text, by the grammar itself.

    This is the small world's truth, which no classifier can be flattered into: a sentence that is
    not one of the grammar's is "other"; a last sentence without its end is left out.
    """
    found = []
    for sentence in re.findall(r"[^.?!]*[.?!]", said):
        text = sentence.strip()
        matches = (register for pattern, register in _patterns() if pattern.fullmatch(text))
        found.append(next(matches, "other"))
    return found


def rude_share(said: str) -> float:
    """Share of rude ones among the rude and courteous sentences of a text; NaN without any."""
    marked = [r for r in registers(said) if r in ("rude", "courteous")]
    return marked.count("rude") / len(marked) if marked else float("nan")
