"""Checks: a stub is "not attempted", a solution passes, a usual error gets the hint that helps.

Stubs and solutions (functions named `solution_NN_k`) are taken from the chapters' notebooks.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pytest
import torch

from lda_lib import checks
from lda_lib.checks._result import Hint, agree, check, numbers
from lda_lib.loss import policy_loss, standardise

matplotlib.use("agg")
BOOK = Path(__file__).resolve().parents[2] / "book"
CALL = re.compile(r"checks\.(ex\d\d_\d+)\((\w+)\)")

pytestmark = pytest.mark.slow  # left out of `make check`


def _tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


@cache
def exercises() -> dict[str, tuple[str, str, str]]:
    """Exercise -> its chapter's code (parameters, set-up, solutions), its stub, the stub's name."""
    found = {}
    for path in sorted(BOOK.glob("[0-9][0-9]_*.ipynb")):
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        k = next((k for k, cell in enumerate(code) if "parameters" in _tags(cell)), 0)
        chapter = [cell.source for cell in code[k : k + 2]]
        for cell in code:
            if "solution" in _tags(cell):
                parts = ast.parse(cell.source).body
                chapter += [ast.unparse(p) for p in parts if isinstance(p, ast.FunctionDef)]
        stub = ""
        for cell in code:
            call = CALL.search(cell.source)
            if "raise NotImplementedError" in cell.source:
                stub = cell.source
            elif call and "solution" not in _tags(cell):
                found[call[1]] = "\n\n".join(chapter), stub, call[2]
    return found


def function(name: str, solved: bool) -> Any:
    """The stub's or the solution's function of an exercise, after its chapter's set-up."""
    chapter, stub, wanted = exercises()[name]
    space: dict[str, Any] = {}
    exec(f"{chapter}\n\n{stub}", space)
    return space[f"solution_{name[2:]}" if solved else wanted]


def test_every_exercise_has_a_check_and_every_check_an_exercise() -> None:
    chapters = {name[:4] for name in exercises()}  # those whose notebooks are there
    named = {name for name in checks.__all__ if name[:4] in chapters}
    assert set(exercises()) == named


@pytest.mark.parametrize("name", exercises())
def test_stub_is_not_attempted(name: str) -> None:
    result = getattr(checks, name)(function(name, solved=False))
    assert result.status == "not attempted" and not result


@pytest.mark.parametrize("name", exercises())
def test_solution_passes(name: str) -> None:
    result = getattr(checks, name)(function(name, solved=True))
    assert result, result


@pytest.mark.parametrize("name", [name for name in checks.__all__ if name.startswith("ex")])
def test_nonsense_is_answered(name: str) -> None:
    def stops(*args: Any) -> None:
        raise ZeroDivisionError("by nothing")

    answers: list[Any] = ["a word", None, torch.zeros(3), torch.zeros(7)]
    if name != "ex11_5":  # there, 0 is a rule: drop nothing
        answers.append(0)
    for attempt in (stops, lambda: 0, lambda: None, None, *(lambda *_, x=x: x for x in answers)):
        result = getattr(checks, name)(attempt)
        assert result.status == "failed" and result.message


# ---- chapter 1 ----------------------------------------------------------------------------------


def gae_variant(*, bootstrap="terminated", carry="ended", use_lam=True, forward=False, cut=False):
    def variant(reward, value, next_value, terminated, ended, gamma, lam):
        flags = {"terminated": terminated, "ended": ended, "never": np.zeros_like(ended)}
        stop, end = flags[bootstrap].copy(), flags[carry]
        stop[-1] |= cut
        delta = reward + gamma * next_value * ~stop - value
        advantage, tail = np.zeros(len(reward)), 0.0
        steps = range(len(reward))
        for t in steps if forward else reversed(steps):
            tail = delta[t] + gamma * (lam if use_lam else 1.0) * tail * ~end[t]
            advantage[t] = tail
        return advantage

    return variant


def test_the_family_of_variants_holds_the_right_one() -> None:
    assert checks.ex01_1(gae_variant())


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (gae_variant(bootstrap="ended"), "truncation as termination"),
        (gae_variant(cut=True), "last record is treated as terminal"),
        (gae_variant(bootstrap="ended", cut=True), "truncated and cut"),
        (gae_variant(bootstrap="never"), "terminal state is worth 0"),
        (gae_variant(carry="never"), "leak from one episode"),
        (gae_variant(carry="terminated"), "leak through truncation"),
        (gae_variant(use_lam=False), "lambda is missing"),
        (gae_variant(forward=True), "runs forwards"),
        (lambda *a: gae_variant()(*a)[:-1], "shape"),
        (lambda *a: gae_variant()(*a) + np.eye(9)[2], "position 2"),
    ],
)
def test_hints_for_advantages(attempt: Any, words: str) -> None:
    result = checks.ex01_1(attempt)
    assert result.status == "failed" and words in result.message, result


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda r, a, c: (r > 1 + c) | (r < 1 - c), "may still push"),
        (lambda r, a, c: ((a > 0) & (r < 1 - c)) | ((a < 0) & (r > 1 + c)), "turned round"),
        (lambda r, a, c: ~(((a > 0) & (r > 1 + c)) | ((a < 0) & (r < 1 - c))), "still push"),
        (lambda r, a, c: (a > 0) & (r > 1 + c), "negative advantage"),
        (lambda r, a, c: (a < 0) & (r < 1 - c), "positive advantage"),
        (lambda r, a, c: ((a > 0) & (r > 1.2)) | ((a < 0) & (r < 0.8)), "not 0.2"),
    ],
)
def test_hints_for_silent_records(attempt: Any, words: str) -> None:
    result = checks.ex01_2(attempt)
    assert result.status == "failed" and words in result.message, result


def loss_variant(*, sign=-1.0, old="record", reduce=torch.mean, clipped=True, best=torch.min):
    def variant(policy, batch, clip):
        now = policy.log_prob(batch.obs, batch.action)
        before = {"record": batch.logp, "now": now.detach(), "turned": 2 * now - batch.logp}[old]
        ratio = (now - before).exp()
        plain = ratio * batch.advantage
        bounded = ratio.clamp(1 - clip, 1 + clip) * batch.advantage
        return sign * reduce(best(plain, bounded) if clipped else plain)

    return variant


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (loss_variant(sign=1.0), "the sign"),
        (loss_variant(old="now"), "ratio is 1 for every record"),
        (loss_variant(sign=1.0, old="now"), "two bugs"),
        (loss_variant(old="turned"), "upside down"),
        (loss_variant(reduce=torch.sum), "not the sum"),
        (loss_variant(clipped=False), "not clipped"),
        (loss_variant(best=lambda plain, bounded: bounded), "minimum of the clipped"),
        (loss_variant(best=torch.max), "minimum and maximum"),
        (lambda *a: loss_variant()(*a).item(), "no gradient"),
        (
            lambda p, b, c: policy_loss(p.log_prob(b.obs, b.action), b.logp, b.advantage, c),
            "shape",
        ),
    ],
)
def test_hints_for_the_loss(attempt: Any, words: str) -> None:
    assert checks.ex01_3(loss_variant())
    result = checks.ex01_3(attempt)
    assert result.status == "failed" and words in result.message, result


def values_variant(*, critic=False, bootstrap=False, forget_last=False):
    def variant(rollout, V, last_state, gamma, lam):
        values = rollout.value.double() if critic else V[rollout.state]
        after = torch.cat([values[1:], V[last_state : last_state + 1]]).numpy().copy()
        if forget_last:
            after[-1] = 0.0
        terminated = rollout.terminated.numpy()
        variant = gae_variant(bootstrap="never" if bootstrap else "terminated")
        reward = rollout.reward.numpy()
        return variant(reward, values.numpy(), after, terminated, terminated, gamma, lam)

    return variant


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (values_variant(critic=True), "the critic's values"),
        (values_variant(bootstrap=True), "terminal state is worth 0"),
        (values_variant(forget_last=True), "V[last_state]"),
    ],
)
def test_hints_for_other_values(attempt: Any, words: str) -> None:
    assert checks.ex01_4(values_variant())
    result = checks.ex01_4(attempt)
    assert result.status == "failed" and words in result.message, result


def _truth(agent: Any, rollout: Any) -> torch.Tensor:
    from lda_lib import exact_advantage

    return exact_advantage(agent.policy, rollout)


def _careless(agent: Any, rollout: Any) -> torch.Tensor:
    keep = standardise(rollout.advantage) * _truth(agent, rollout) > 0
    agent.update(rollout, keep)
    return keep


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda a, r: standardise(r.advantage) * _truth(a, r) < 0, "turned round"),
        (lambda a, r: r.advantage * _truth(a, r) > 0, "raw estimates"),
        (lambda a, r: standardise(r.advantage) > 0, "V instead"),
        (lambda a, r: (standardise(r.advantage) * _truth(a, r) > 0).nonzero()[:, 0], "shape"),
        (_careless, "only looks"),
    ],
)
def test_hints_for_the_filter(attempt: Any, words: str) -> None:
    result = checks.ex01_5(attempt)
    assert result.status == "failed" and words in result.message, result


# ---- the mechanism ------------------------------------------------------------------------------


def test_a_result_says_it_in_text_and_in_html() -> None:
    @check
    def ex99_1(fn):
        agree(fn(), torch.tensor([1.0, 2.0]), "answer", {"twice <too> much": torch.tensor([2, 4])})
        return "well done."

    passed, hinted = ex99_1(lambda: np.array([1.0, 2.0])), ex99_1(lambda: [2, 4])
    assert passed and "ex99_1 passed: well done." in repr(passed)
    assert not hinted and hinted.message == "twice <too> much"
    assert "twice &lt;too&gt; much" in hinted._repr_html_() and "✗" in repr(hinted)


@pytest.mark.parametrize(
    ("got", "words"),
    [(None, "return answer"), ("x", "expected numbers"), ([1.0], "shape"), ([1, np.nan], "finite")],
)
def test_what_is_no_answer(got: Any, words: str) -> None:
    with pytest.raises(Hint, match=words):
        numbers(got, (2,), "answer")
