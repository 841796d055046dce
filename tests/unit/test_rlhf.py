"""Scores, records and rounds of a language model, on tiny random models: no downloads."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lda_lib import IIF, LowestAdvantage, RandomDrop
from lda_lib.cost import peak_bytes
from lda_lib.rollout import gae
from lda_lib.step import check_keep

pytest.importorskip("transformers")
pytest.importorskip("peft")

from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.models.gpt_neo import modeling_gpt_neo
from transformers.models.llama import modeling_llama

from lda_lib.files import CheckpointError
from lda_lib.rlhf import (
    ClassifierReward,
    Difficulty,
    LanguageGRPO,
    LanguagePPO,
    RLHFConfig,
    SequenceReturn,
    TokenReturn,
    Writing,
    released_filter,
    text_influence,
)
from lda_lib.rlhf.pretraining import WorldConfig, train_tokenizer
from lda_lib.rlhf.rollout import group_advantages, last, token_gae, token_rewards, whiten
from lda_lib.rlhf.scores import _jvp, target_gradient

from .test_cli import lda

PROMPTS = [
    "At the bakery, Ada asked for the bread. The baker said:",
    "In the office, Ben asked for the form.",
    "The clerk snapped:",
    "Hugo asked for the key and the caretaker nodded and said:",
]

pytestmark = pytest.mark.slow  # left out of `make check`


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(WorldConfig(vocabulary=300))


def tiny(kind: str, tokenizer, seed: int = 0):
    """A random causal language model of two layers."""
    torch.manual_seed(seed)
    size = len(tokenizer)
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=128)
        )
    if kind == "llama":  # rotary positions, gated layers, shared keys and values
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1, intermediate_size=32, max_position_embeddings=128,
            )
        )  # fmt: skip
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=size, hidden_size=16, num_layers=2, num_heads=2, window_size=16,
            attention_types=[[["global", "local"], 1]], max_position_embeddings=128,
        )
    )  # fmt: skip


def asks(prompts, texts):
    """A reward: how many question marks and vowels."""
    return [t.count("?") + 0.1 * sum(t.count(v) for v in "aeiou") for t in texts]


def make(tokenizer, kind="neo", trainer=LanguagePPO, perturb=0.05, **settings):
    small = {"n_sequences": 12, "new_tokens": 6, "batch_size": 4, "epochs": 1, "lora_r": 2}
    agent = trainer(
        tiny(kind, tokenizer), settings.pop("reward", asks), settings.pop("prompts", PROMPTS * 2),
        tokenizer=tokenizer, validation=PROMPTS, **(small | settings),
    )  # fmt: skip
    with torch.no_grad():  # B = 0 at the start would make half of the gradient vanish
        for k, p in agent.policy.trainable().items():
            noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(len(k)))
            p += perturb * noise.to(p)
    return agent


@pytest.fixture
def exact_attention(monkeypatch):
    """GPT-Neo and Llama compute some of attention in float32; here, in float64."""
    double = types.SimpleNamespace(**{k: getattr(torch, k) for k in dir(torch)})
    double.float32 = torch.float64
    for module in (modeling_gpt_neo, modeling_llama):
        monkeypatch.setattr(module, "torch", double)


@pytest.mark.parametrize("kind", ["neo", "gpt2", "llama"])
@pytest.mark.parametrize("target", [SequenceReturn(), TokenReturn(), SequenceReturn(held_out=5)])
@pytest.mark.parametrize("score_loss", ["policy", "full"])
def test_scores_are_those_of_one_backward_pass_per_record(
    tokenizer, exact_attention, kind, target, score_loss
):
    agent = make(tokenizer, kind, dtype="float64")
    rollout = agent.collect()
    by_jvp, by_ghost = (
        agent.influence(rollout, target, score_loss=score_loss, micro_batch=5, method=method)
        for method in ("jvp", "ghost")
    )
    by_loop = agent.influence(rollout, target, score_loss=score_loss, method="loop")
    assert by_jvp.dtype == torch.float64 and by_loop.abs().max() > 1e-4
    torch.testing.assert_close(by_jvp, by_loop, atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(by_ghost, by_loop, atol=1e-10, rtol=1e-8)


def test_the_value_loss_counts_in_the_full_score(tokenizer):
    agent = make(tokenizer)
    rollout = agent.collect()
    full, policy = (agent.influence(rollout, score_loss=s) for s in ("full", "policy"))
    assert not torch.allclose(full, policy)
    again = agent.influence(rollout, score_loss="full", vf_coef=0.0)
    torch.testing.assert_close(again, policy)


def value_of(agent, records, weights) -> float:
    with torch.no_grad():
        now = agent.policy(records.prompt, records.prompt_mask, records.token, records.mask)
    return float((now.logp * weights).sum())


def test_a_score_is_what_learning_from_the_record_does_to_the_target(tokenizer, exact_attention):
    """A central difference of f along -grad loss_i."""
    from lda_lib.rlhf.loss import record_losses

    agent = make(tokenizer, dtype="float64")
    rollout = agent.collect()
    records, weights = TokenReturn()(agent, rollout)
    scores = agent.influence(rollout, TokenReturn())
    adapters = list(agent.policy.adapters().values())
    for i in (0, 7):
        one = rollout[i]
        now = agent.policy(one.prompt, one.prompt_mask, one.token, one.mask)
        loss = record_losses(now, one, clip=0.2, vf_coef=0.0)[0].sum()
        grads = torch.autograd.grad(loss, adapters)
        found = []
        for step in (1e-4, -2e-4):
            with torch.no_grad():
                for p, g in zip(adapters, grads):
                    p -= step * g
            found.append(value_of(agent, records, weights))
        with torch.no_grad():
            for p, g in zip(adapters, grads):
                p -= 1e-4 * g
        assert (found[0] - found[1]) / 2e-4 == pytest.approx(float(scores[i]), rel=1e-5, abs=1e-9)


def test_the_targets_are_what_they_say(tokenizer):
    agent = make(tokenizer)
    rollout = agent.collect()
    records, weights = SequenceReturn()(agent, rollout)
    by_hand = sum(float(r.logp.sum() * r.advantage) for r in rollout.split(1)) / len(rollout)
    assert value_of(agent, records, weights) == pytest.approx(by_hand, rel=1e-4)
    records, weights = TokenReturn()(agent, rollout)
    by_hand = float((rollout.logp * rollout.token_advantage).sum() / rollout.mask.sum())
    assert value_of(agent, records, weights) == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
    records, weights = Writing(rollout[3])(agent, rollout)
    expected = float(rollout.logp[3].sum())
    assert value_of(agent, records, weights) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="record: 2 records"):
        Writing(rollout[:2])(agent, rollout)
    with pytest.raises(ValueError, match="at most one"):
        SequenceReturn(held_out=2, reference=rollout)(agent, rollout)


def test_a_record_helps_itself_to_be_written(tokenizer):
    """Score of a record with a positive advantage for its own log-probability: a squared norm."""
    agent = make(tokenizer, whiten=None, vf_coef=0.0)
    rollout = agent.collect()
    i = int(rollout.advantage.argmax())
    assert agent.influence(rollout, Writing(rollout[i]))[i] > 0


def test_memory_does_not_grow_with_the_number_of_sequences(tokenizer):
    agent = make(tokenizer, n_sequences=64, micro_batch=8)
    rollout = agent.collect()

    def peak(n):
        return peak_bytes(lambda: agent.influence(rollout[:n]))

    few, many = peak(8), peak(64)
    assert many < 1.1 * few
    agent.config = RLHFConfig.preset(**(vars(agent.config) | {"micro_batch": 64}))
    assert peak(64) > 4 * few  # and the measure sees a large batch


def test_scores_cost_less_than_three_and_a_half_forward_passes(tokenizer):
    """In multiplications, which no other process can slow down; seconds are the benchmarks'."""
    agent = make(tokenizer)
    rollout = agent.collect()
    weights = SequenceReturn()(agent, rollout)[1]
    v = target_gradient(agent.policy, rollout, weights, 64)

    def count(call) -> int:
        with FlopCounterMode(display=False) as counter:
            call()
        return counter.get_total_flops()

    with torch.no_grad():
        one = count(lambda: agent.policy(
            rollout.prompt, rollout.prompt_mask, rollout.token, rollout.mask))  # fmt: skip
    terms = {"clip": 0.2, "vf_coef": 0.1, "kl_coef": 0.0}
    products = count(lambda: _jvp(agent.policy, rollout, v, terms))
    target = count(lambda: target_gradient(agent.policy, rollout, weights, 64))
    assert one < products < 3.5 * one
    assert one < target < 3.5 * one  # a forward and a backward pass
    whole = count(lambda: agent.influence(rollout, score_loss="full"))
    assert whole == target + products


def test_dropout_is_off_in_generation_and_scoring(tokenizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Dropout, "forward", _refuse_in_training)
        agent = make(tokenizer, lora_dropout=0.5, update_dropout=True, micro_batch=5)
        agent.policy.train()
        rollout = agent.collect()
        agent.policy.train()
        agent.influence(rollout)  # would warn of stale records
        assert agent.policy.training  # and leaves the mode as it was
        with pytest.raises(AssertionError, match="dropout"):
            agent.update(rollout)
        still = make(tokenizer, lora_dropout=0.5, batch_size=12)
        statistics = still.update(still.collect())
    assert statistics["ratio_gap"] < 1e-5  # the ratio is 1 in the first minibatch


def _refuse_in_training(module, x):
    assert not (module.training and module.p), "dropout"
    return x


def test_stale_records_are_told(tokenizer):
    agent = make(tokenizer, lr=0.05)
    rollout = agent.collect()
    agent.update(rollout)
    with pytest.warns(UserWarning, match="stale records"):
        agent.influence(rollout)


@pytest.mark.parametrize("kind", ["neo", "gpt2", "llama"])
def test_generation_is_what_the_policy_says(tokenizer, kind):
    """Token by token with a cache and padding: the same as drawn from full passes, one by one."""
    agent = make(tokenizer, kind)
    coded = tokenizer(PROMPTS, padding=True, padding_side="left", return_tensors="pt")
    noise = torch.from_numpy(np.random.default_rng(0).random((4, 8)))
    mask = coded["attention_mask"].bool()
    token, real = agent.policy.generate(coded["input_ids"], mask, noise, 1, 0)
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        for t in range(int(real[i].sum())):
            with torch.no_grad():
                p = torch.softmax(agent.policy.lm(ids).logits[0, -1].double(), -1)
            drawn = int((p.cumsum(0) <= noise[i, t]).sum())
            assert drawn == token[i, t]
            ids = torch.cat([ids, torch.tensor([[drawn]])], 1)
    assert real[:, 0].all() and ((token == 1) & real).sum(1).max() <= 1
    rollout = agent.collect()
    alone = agent.policy(*(x[:1] for x in (rollout.prompt, rollout.prompt_mask)), rollout.token[:1],
                         rollout.mask[:1])  # fmt: skip
    torch.testing.assert_close(alone.logp, rollout.logp[:1])


def test_records_hold_rewards_penalties_and_advantages(tokenizer):
    agent = make(tokenizer, whiten=None, kl_coef=0.3)
    rollout = agent.collect()
    mask = rollout.mask
    assert list(rollout.reward) == pytest.approx(asks(rollout.prompts, rollout.texts))
    assert rollout.kl.abs().max() > 1e-4  # the adapters were disturbed
    with torch.no_grad(), agent.policy.reference():
        now = agent.policy(rollout.prompt, rollout.prompt_mask, rollout.token, mask)
    torch.testing.assert_close(now.logp, rollout.ref_logp)
    total = rollout.reward - 0.3 * rollout.kl
    torch.testing.assert_close(rollout.token_reward.sum(1), total)
    torch.testing.assert_close(
        rollout.advantage, last(rollout.token_reward - rollout.value, mask), atol=1e-5, rtol=1e-5
    )
    some = rollout[torch.tensor([4, 2])]
    assert some.texts == (rollout.texts[4], rollout.texts[2]) and some.index.tolist() == [4, 2]
    table = rollout.table(score=rollout.reward)
    assert table.loc[4, "text"] == rollout.texts[4] and table.columns[0] == "score"


def test_advantages_along_a_text_are_gae():
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 5, 3))
    ended = np.zeros((5, 3), bool)
    ended[-1] = True
    following = np.vstack([value[1:], np.zeros(3)])
    expected = gae(reward, value, following, ended, ended, 0.9, 0.8)
    got = token_gae(
        *(torch.from_numpy(x.T.copy()) for x in (reward, value)), torch.ones(3, 5).bool(), 0.9, 0.8
    )
    np.testing.assert_allclose(got.T, expected)
    mask = torch.tensor([[True, True, False, False, False]])
    short = token_gae(torch.from_numpy(reward.T[:1].copy()), torch.from_numpy(value.T[:1].copy()),
                      mask, 0.9, 0.8)  # fmt: skip
    assert short[0, 1] == pytest.approx(reward[1, 0] - value[1, 0]) and (short[0, 2:] == 0).all()
    rewards = token_rewards(torch.tensor([2.0]), torch.ones(1, 5), torch.zeros(1, 5), mask, 0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 1.9, 0, 0, 0]]))


def test_whitening_is_over_tokens_of_consecutive_records():
    torch.manual_seed(0)
    x, mask = torch.randn(6, 4) * 3 + 1, torch.rand(6, 4) < 0.7
    out = whiten(x, mask, 3)
    for part in (slice(0, 3), slice(3, 6)):
        values = out[part][mask[part]]
        assert abs(values.mean()) < 1e-6 and values.std() == pytest.approx(1, abs=1e-5)
    assert (out[~mask] == 0).all() and not torch.allclose(out, whiten(x, mask, 0))


@pytest.mark.parametrize(
    "keep",
    [
        IIF(1.0),  # type: ignore[arg-type]
        IIF(0.5, target=TokenReturn()),  # type: ignore[arg-type]
        RandomDrop(like=IIF(1.0)),
        Difficulty(like=IIF(1.0)),
        Difficulty(drop=0.5),
        LowestAdvantage(drop=0.5),
        released_filter(4),
        lambda agent, rollout: rollout.reward > rollout.reward.min(),
        lambda agent, rollout: 0.5 + (rollout.lengths > 2).float(),
    ],
    ids=lambda keep: type(keep).__name__,
)
def test_any_filter_of_agent_and_rollout_acts(tokenizer, keep):
    agent = make(tokenizer, keep=keep)
    seen = []
    history = agent.learn(
        1, progress=False, callback=lambda a, rollout, scores, kept: seen.append((rollout, kept))
    )
    _, kept = seen[0]
    assert history["kept"][0] == int((kept > 0).sum()) > 0
    assert history["optimizer_steps"][0] == math.ceil(history["kept"][0] / 4)
    twin = make(tokenizer)
    twin.update(twin.collect(), kept)
    for a, b in zip(agent.policy.trainable().values(), twin.policy.trainable().values()):
        assert torch.equal(a, b)


def test_filters_drop_what_they_say(tokenizer):
    agent = make(tokenizer)
    rollout = agent.collect()
    iif = IIF(1.0)
    keep = iif(agent, rollout)
    assert torch.equal(keep, iif.scores >= 0) and 0 < int(keep.sum()) < 12
    random = RandomDrop(like=iif)(agent, rollout)
    assert random.sum() == keep.sum()
    hard = Difficulty(like=iif)(agent, rollout)
    assert hard.sum() == keep.sum()
    middle = Difficulty(drop=0.5)(agent, rollout)
    order = rollout.reward.argsort()
    assert (~middle)[order[:2]].all() and (~middle)[order[-2:]].all()
    with pytest.raises(ValueError, match="exactly one"):
        Difficulty()
    with pytest.raises(ValueError, match="shape"):
        agent.update(rollout, torch.ones(3).bool())


def test_dropping_nothing_is_ppo_bit_for_bit(tokenizer):
    plain, filtered = make(tokenizer), make(tokenizer, keep=IIF(0.0))
    a, b = plain.learn(2, progress=False), filtered.learn(2, progress=False)
    same(a, b)
    for x, y in zip(plain.policy.trainable().values(), filtered.policy.trainable().values()):
        assert torch.equal(x, y)


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    times = [c for c in {*a.columns, *b.columns} if c.startswith("seconds")]
    pd.testing.assert_frame_equal(
        a.drop(columns=times, errors="ignore"), b.drop(columns=times, errors="ignore")
    )


def test_micro_batches_change_memory_and_not_results(tokenizer):
    a, b = (make(tokenizer, micro_batch=m, dtype="float64") for m in (3, 64))
    one, two = a.collect(), b.collect()
    assert one.texts == two.texts
    torch.testing.assert_close(a.influence(one), b.influence(two), rtol=1e-5, atol=1e-8)
    a.update(one)
    b.update(two)
    for x, y in zip(a.policy.trainable().values(), b.policy.trainable().values()):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("trainer", [LanguagePPO, LanguageGRPO])
def test_a_resumed_run_is_the_uninterrupted_one(tokenizer, trainer, tmp_path):
    settings = {"update_dropout": True, "lora_dropout": 0.3}
    settings |= {"group": 4} if trainer is LanguageGRPO else {}
    whole = make(tokenizer, trainer=trainer, keep=IIF(1.0), **settings)
    expected = whole.learn(3, progress=False)
    path = tmp_path / "agent.safetensors"
    make(tokenizer, trainer=trainer, keep=IIF(1.0), **settings).learn(2, progress=False, save=path)
    model = tiny("neo", tokenizer)
    more = {"tokenizer": tokenizer, "keep": IIF(1.0)}
    agent = trainer.load(path, model, asks, PROMPTS * 2, **more)
    same(agent.learn(1, progress=False), expected)
    for x, y in zip(agent.policy.trainable().values(), whole.policy.trainable().values()):
        assert torch.equal(x, y)
    with pytest.raises(CheckpointError, match="prompts: not those"):
        trainer.load(path, tiny("neo", tokenizer), asks, PROMPTS, **more)
    with pytest.raises(CheckpointError, match="adapters are not those"):
        trainer.load(path, tiny("gpt2", tokenizer), asks, PROMPTS * 2, **more)
    other = LanguageGRPO if trainer is LanguagePPO else LanguagePPO
    with pytest.raises(CheckpointError, match="expected a Language"):
        other.load(path, tiny("neo", tokenizer), asks, PROMPTS * 2, **more)


def test_training_raises_the_reward_and_the_kl_weight_adapts(tokenizer):
    agent = make(
        tokenizer, n_sequences=32, lr=0.02, epochs=2, kl_coef=0.01, kl_target=0.05, lora_r=8,
        lora_targets=("q_proj", "v_proj", "out_proj", "c_fc", "c_proj"),
        reward=lambda prompts, texts: [sum(c.isascii() for c in t) for t in texts],
    )  # fmt: skip
    with torch.no_grad():  # random weights are too small for an adapter to make itself heard
        agent.policy.lm.get_input_embeddings().weight *= 20
    before = agent.kl_coef
    history = agent.learn(8, progress=False, probe=lambda a: {"twice": 2.0 * a.round})
    assert history["reward_mean"][-2:].mean() > history["reward_mean"][:2].mean() + 0.5
    assert history["kl"].iloc[-1] > 0.05 and agent.kl_coef > before
    assert history["twice"].tolist() == [2.0 * k for k in range(1, 9)]


def test_a_group_is_its_own_baseline():
    reward = torch.tensor([1.0, 2.0, 6.0, 4.0, 4.0, 5.0])
    group = torch.tensor([0, 0, 0, 1, 1, 1])
    everyone = torch.ones(6).bool()
    got = group_advantages(reward, group, everyone)
    torch.testing.assert_close(got[:3], (reward[:3] - 3) / (reward[:3].std() + 1e-4))
    kept = torch.tensor([True, True, False, True, False, False])
    other = group_advantages(reward, group, kept)
    # without the third member the second one, below the mean before, is above it
    assert got[1] < 0 < other[1] and (other[3:] == 0).all()


def test_grpo_trains_without_a_critic(tokenizer):
    agents = {
        b: make(tokenizer, trainer=LanguageGRPO, group=4, group_baseline=b) for b in ("all", "kept")
    }
    rollout = agents["all"].collect()
    assert (rollout.ret == 0).all() and (rollout.group.bincount() == 4).all()
    assert len(set(rollout.prompts[:4])) == 1
    same_token = rollout.token_advantage[rollout.mask]
    torch.testing.assert_close(same_token, rollout.advantage.repeat_interleave(rollout.lengths))
    keep = rollout.reward > rollout.reward.min()
    for agent in agents.values():
        agent.collect()
        agent.update(rollout, keep)
    a, b = (list(x.policy.adapters().values()) for x in agents.values())
    assert not all(torch.equal(x, y) for x, y in zip(a, b))
    head = agents["all"].policy.value.weight
    assert torch.equal(head, make(tokenizer).policy.value.weight)  # untouched
    with pytest.raises(ValueError, match="group: 1, expected 2 or more"):
        make(tokenizer, trainer=LanguageGRPO, group=1).collect()


def test_the_kl_term_of_grpo_counts_in_the_full_score(tokenizer, exact_attention):
    agent = make(tokenizer, trainer=LanguageGRPO, group=4, dtype="float64", kl_coef=0.5)
    rollout = agent.collect()
    full = agent.influence(rollout, score_loss="full")
    assert not torch.allclose(full, agent.influence(rollout))
    torch.testing.assert_close(full, agent.influence(rollout, score_loss="full", method="loop"))


# ---- clear errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda p, t: [math.nan] * len(t), "reward: returned nan for text 0"),
        (lambda p, t: [1.0], r"shape \(1,\), expected \(12,\)"),
        (lambda p, t: "good", "expected"),
        (lambda p, t: None, "expected"),
    ],
)
def test_a_bad_reward_is_told(tokenizer, reward, message):
    with pytest.raises(ValueError, match=message):
        make(tokenizer, reward=reward).collect()


def test_missing_weights_are_told(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model: .*nowhere"):
        LanguagePPO(str(tmp_path / "nowhere"), asks, PROMPTS, tokenizer=tokenizer)
    tiny("neo", tokenizer).config.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected a folder with config.json and weights"):
        LanguagePPO(str(tmp_path), asks, PROMPTS, tokenizer=tokenizer)
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        LanguagePPO(str(tmp_path), asks, PROMPTS)
    tiny("neo", tokenizer).save_pretrained(tmp_path)  # a language model is no classifier
    with pytest.raises(ValueError, match=r"lack 1 parameters .*score.weight"):
        ClassifierReward(str(tmp_path), "LABEL_1", tokenizer=tokenizer)


def test_a_tokenizer_without_pad_token_is_told(tokenizer):
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_padding()
    bare = type(tokenizer)(tokenizer_object=backend, eos_token="<end>")
    with pytest.raises(ValueError, match=r"has no pad token.*pad_token='eos'"):
        make(bare)
    assert len(make(bare, pad_token="eos").collect()) == 12
    with pytest.raises(ValueError, match="tokenizer: None"):
        LanguagePPO(tiny("neo", tokenizer), asks, PROMPTS)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError(
    "DefaultCPUAllocator: can't allocate memory: you tried")])  # fmt: skip
def test_a_batch_too_large_is_told(tokenizer, monkeypatch, error):
    agent = make(tokenizer)
    rollout = agent.collect()

    def forward(*_):
        raise error

    monkeypatch.setattr(agent.policy, "forward", forward)
    for act, stage in (
        (agent.collect, "generation"),
        (lambda: agent.influence(rollout), "scoring"),
        (lambda: agent.update(rollout), "the update"),
    ):
        with pytest.raises(MemoryError, match=f"micro_batch: 64 .* during {stage}"):
            act()


def test_a_diverging_update_keeps_the_parameters(tokenizer):
    agent = make(tokenizer, lr=1e30)
    rollout = agent.collect()
    before = {k: p.clone() for k, p in agent.policy.trainable().items()}
    with pytest.raises(FloatingPointError, match="lr is 1e\\+30"):
        agent.update(rollout)
    assert all(torch.equal(p, before[k]) for k, p in agent.policy.trainable().items())
    moments = agent.optimizer.state_dict()["state"].values()
    assert all(torch.as_tensor(x).isfinite().all() for one in moments for x in one.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_sequences": 0}, "n_sequences: 0"),
        ({"group": 5}, "group: 5 does not divide n_sequences 12"),
        ({"dtype": "int8"}, "dtype: 'int8'"),
        ({"lr": -1.0}, "lr: -1.0"),
        ({"lr": "x"}, "lr: 'x', expected a number above 0"),
        ({"lr": None}, "lr: None, expected a number above 0"),
        ({"kl_coef": "x"}, "kl_coef: 'x', expected a number from 0"),
        ({"gamma": "x"}, "gamma: 'x', expected a number from 0 to 1"),
        ({"kl_target": "x"}, "kl_target: 'x', expected None or a number above 0"),
        ({"whiten": "x"}, "whiten: 'x', expected None or a whole number from 0"),
        ({"equal_steps": "no"}, "equal_steps: 'no', expected True or False"),
        ({"lora_targets": "q_proj"}, "lora_targets: 'q_proj', expected a list of names"),
        ({"preset": "best"}, "preset: 'best'"),
        ({"prompts": []}, "prompts: none"),
        ({"prompts": "Hello"}, "prompts: 'Hello', expected a list"),
        ({"reward": None}, "reward: None, expected a function"),
        ({"keep": IIF}, "keep: .*IIF.*, expected a filter"),
        ({"seed": -1}, "seed: -1"),
    ],
)
def test_bad_settings_are_named(tokenizer, settings, message):
    with pytest.raises(ValueError, match=message):
        make(tokenizer, **settings)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "--device", "bogus"], "device: 'bogus', expected one that torch has here"),
        (["train", "--set", "lr=x"], "lr: 'x', expected a number above 0"),
        (["train", "--drop", "0.5"], "--drop 0.5 means nothing with --keep none"),
        (["train", "--keep", "released", "--target", "seq"], "--target seq means nothing with"),
        (["bench", "--device", "bogus"], "device: 'bogus', expected one that torch has here"),
    ],
)
def test_bad_options_are_said_before_anything_is_loaded(args, message, monkeypatch, tmp_path):
    for name in ("_world", "scoring_cost"):
        monkeypatch.setattr(f"lda_lib.rlhf.cli.{name}", None)
    out = ["--out", tmp_path / "x"] if args[0] == "train" else []
    assert message in lda("rlhf", *args, *out, ok=False)


def test_unknown_settings_and_methods_are_named(tokenizer):
    with pytest.raises(TypeError, match="'speed'"):
        make(tokenizer, speed=1)
    agent = make(tokenizer)
    rollout = agent.collect()
    with pytest.raises(ValueError, match="method: 'magic'"):
        agent.influence(rollout, method="magic")
    with pytest.raises(ValueError, match="score_loss: 'half'"):
        agent.influence(rollout, score_loss="half")
    with pytest.raises(ValueError, match="weights: shape"):
        text_influence(agent.policy, rollout, rollout, torch.ones(2, 2))
    v = target_gradient(agent.policy, rollout, torch.zeros(rollout.mask.shape), 5)
    assert all((x == 0).all() for x in v.values())
    assert check_keep(None, 3).all()


@pytest.mark.slow
def test_the_package_does_without_transformers():
    code = (
        "import sys; sys.modules.update(transformers=None, peft=None)\n"
        "import lda_lib, lda_lib.cli, lda_lib.studies\n"
        "try:\n    import lda_lib.rlhf\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs transformers and peft" in done.stdout and "lda-lib[rlhf]" in done.stdout


def test_a_phase_within_a_phase_counts_once(tokenizer, monkeypatch):
    agent = make(tokenizer, n_sequences=8)
    agent.collect()
    before = dict(agent.seconds)
    with agent._clock("score"):
        agent.write_held_out(8)
    assert {k: v for k, v in agent.seconds.items() if k != "score"} == before
    assert agent.seconds["score"] > 0
    with agent._clock("probe"):
        pass
    assert "probe" in agent.seconds


def test_two_agents_do_not_share_adapters(tokenizer):
    model = tiny("neo", tokenizer)
    LanguagePPO(model, asks, PROMPTS, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="model: it holds adapters already"):
        LanguagePPO(model, asks, PROMPTS, tokenizer=tokenizer)
