"""The update is PPO, runs are reproducible, and filtering nothing changes nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lda_lib import IIF, PPO, PPOConfig, RandomDrop
from lda_lib.config import PRESETS
from lda_lib.loss import standardise
from lda_lib.step import minibatches

from .worlds import Corridor

TIMES = ["seconds", "seconds_collect", "seconds_score", "seconds_update", "seconds_evaluate"]


def same_history(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a.drop(columns=TIMES), b.drop(columns=TIMES), check_exact=True)


def same_parameters(a: PPO, b: PPO) -> bool:
    pairs = zip(a.policy.parameters(), b.policy.parameters(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def small(task="CartPole", **settings) -> PPO:
    defaults = {"seed": 0, "n_steps": 256, "epochs": 3, "lr": 3e-3, "compile": False}
    return PPO(task, **(defaults | settings))


def reference_update(agent: PPO, rollout, weight: torch.Tensor) -> list[torch.Tensor]:
    """The same update written with torch.optim and autograd, as in any PPO tutorial."""
    c = agent.config
    policy = type(agent.policy)(agent.policy.arch)
    policy.load_state_dict(agent.policy.state_dict())
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, c.lr),
        "adam": lambda p: torch.optim.Adam(p, c.lr, eps=c.adam_eps),
    }
    optimiser = kinds[c.optimizer](policy.parameters())
    rng, n = agent.rng("minibatches"), len(rollout)
    for _ in range(c.epochs):
        order = rng.permutation(n)
        order = order[weight.numpy()[order] > 0]
        if c.equal_steps:
            order = np.resize(order, n)
        if c.drop_remainder:
            order = order[: len(order) // c.batch_size * c.batch_size]
        critic_order = rng.permutation(n) if c.critic == "all" else order
        for i in range(0, len(order), c.batch_size):
            b, w = rollout[order[i : i + c.batch_size]], weight[order[i : i + c.batch_size]]
            v = rollout[critic_order[i : i + c.batch_size]]
            log_prob, _, entropy = policy(b.obs, b.action)
            a = (b.advantage - b.advantage.mean()) / (b.advantage.std() + 1e-8)
            ratio = torch.exp(log_prob - b.logp)
            actor = -torch.min(ratio * a, torch.clamp(ratio, 1 - c.clip, 1 + c.clip) * a)
            critic = (policy.value(v.obs) - v.ret) ** 2
            value_weight = w if c.critic == "kept" else torch.ones(len(v))
            loss = (w * actor).mean() + c.vf_coef * (value_weight * critic).mean()
            loss = loss - c.ent_coef * (w * entropy).mean()
            optimiser.zero_grad()
            loss.backward()
            if c.max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(policy.parameters(), c.max_grad_norm)
            optimiser.step()
    return list(policy.parameters())


VARIANTS = [
    {},
    {"optimizer": "adam", "lr": 1e-3},
    {"max_grad_norm": 0.5},
    {"ent_coef": 0.01, "vf_coef": 0.25},
    {"critic": "all"},
    {"equal_steps": True},
    {"critic": "all", "equal_steps": True, "optimizer": "adam"},
    {"drop_remainder": False},
]


@pytest.mark.parametrize("task", ["CartPole", lambda: Corridor(continuous=True)])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("kept", ["all", "some", "weights"])
def test_update_is_the_textbook_update(task, variant, kept):
    agent = small(task, **variant)
    rollout = agent.collect()
    g = torch.Generator().manual_seed(0)
    keep = {
        "all": None,
        "some": torch.rand(256, generator=g) < 0.7,
        "weights": torch.randint(3, (256,), generator=g).float(),
    }[kept]
    weight = torch.ones(256) if keep is None else keep.float()
    expected = reference_update(agent, rollout, weight)
    before = [p.detach().clone() for p in agent.policy.parameters()]
    agent.update(rollout, keep)
    for p, q, old in zip(agent.policy.parameters(), expected, before, strict=True):
        torch.testing.assert_close(p, q, rtol=2e-4, atol=2e-6)
        assert not torch.equal(p, old)


@pytest.mark.slow
def test_a_compiled_update_is_the_eager_update():
    eager, compiled = small(), small(compile=True)
    rollout = eager.collect()
    eager.update(rollout)
    compiled.update(compiled.collect())
    for p, q in zip(eager.policy.parameters(), compiled.policy.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_ratio_is_one_on_the_first_minibatch():
    agent = small("Acrobot")
    rollout = agent.collect()
    trace = agent.update(rollout, trace=True)
    for k, p in trace.params[0].items():
        assert not torch.equal(p, dict(agent.policy.named_parameters())[k]) or p.numel() == 1
    agent.policy.load_state_dict(trace.params[0])
    batch = rollout[trace.index[0]]
    ratio = (agent.policy.log_prob(batch.obs, batch.action) - batch.logp).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-5, atol=1e-5)
    assert abs(float(trace.statistics[0, 3])) < 1e-6  # KL
    assert len(trace.params) == len(trace.index) == len(trace.state) == 12


@pytest.mark.parametrize("task", ["FrozenLakeSlippery", "MiniGrid", "BipedalWalker"])
def test_one_seed_governs_everything(task):
    def history(seed: int) -> pd.DataFrame:
        agent = small(task, seed=seed, keep=IIF(0.5), n_envs=2)
        return agent.learn(2, episodes=2, progress=False)

    same_history(history(3), history(3))
    assert not np.array_equal(history(3)["policy_loss"], history(4)["policy_loss"])


def test_other_peoples_randomness_changes_nothing():
    first = small(keep=IIF(0.5)).learn(2, episodes=3, progress=False)
    torch.manual_seed(99)
    np.random.seed(99)
    agent = small(keep=IIF(0.5))
    agent.evaluate(2)  # evaluation has episodes and random numbers of its own
    same_history(first, agent.learn(2, episodes=3, progress=False))


def test_collecting_leaves_the_parameters_alone():
    agent, fresh = small(), small()
    agent.collect()
    assert same_parameters(agent, fresh)
    assert all(p.grad is None for p in agent.policy.parameters())


@pytest.mark.parametrize("preset", ["paired", "as_written"])
def test_a_filter_that_drops_nothing_is_ppo_bit_for_bit(preset):
    plain, filtered = small(preset=preset), small(preset=preset, keep=IIF(0.0))
    same_history(
        plain.learn(3, episodes=2, progress=False), filtered.learn(3, episodes=2, progress=False)
    )
    assert same_parameters(plain, filtered)


def test_arms_meet_the_same_episodes_and_actions():
    """Until their policies part, a run and its filtered twin live the same life."""
    plain, filtered = small(), small(keep=IIF(1.0))
    a, b = plain.collect(), filtered.collect()
    assert torch.equal(a.obs, b.obs) and torch.equal(a.action, b.action)
    plain.update(a)
    filtered.update(b, filtered.keep(filtered, b))
    assert not same_parameters(plain, filtered)
    plain.policy.load_state_dict(filtered.policy.state_dict())
    assert torch.equal(plain.collect().obs, filtered.collect().obs)


def test_as_released_restarts_the_filtered_arm_only():
    filtered, plain = small(preset="as_released", keep=IIF(0.5)), small(preset="as_released")
    for agent, restarts in ((filtered, True), (plain, False)):
        first = agent.collect()
        agent.update(first)
        second = agent.collect()
        assert torch.equal(first.obs[0], second.obs[0]) == restarts
        assert agent.rng("x").random() == agent.rng("x").random()
    assert PRESETS["as_written"] == {"max_grad_norm": 0.5}


def test_kept_records_come_in_the_order_of_the_full_shuffle():
    config = PPOConfig(batch_size=4, epochs=2)
    keep = np.arange(20) % 3 != 0
    full = [i for i, _ in minibatches(np.ones(20, bool), config, np.random.default_rng(0))]
    some = [i for i, _ in minibatches(keep, config, np.random.default_rng(0))]
    per_epoch = len(full) // 2
    for epoch, count in ((0, 3), (1, 3)):
        order = np.concatenate(full[epoch * per_epoch : (epoch + 1) * per_epoch])
        mine = np.concatenate(some[epoch * count : (epoch + 1) * count])
        assert mine.tolist() == order[keep[order]][:12].tolist()


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, [4, 4, 4]),  # 13 kept: the remainder of 1 is left out
        ({"drop_remainder": False}, [4, 4, 4, 1]),
        ({"equal_steps": True}, [4, 4, 4, 4, 4]),  # as many as 20 records make
        ({"batch_size": 64}, [13]),  # fewer kept than a minibatch: one smaller step, not none
    ],
)
def test_minibatch_sizes(settings, sizes):
    config = PPOConfig(**({"batch_size": 4, "epochs": 1} | settings))
    keep = np.arange(20) % 3 != 0
    got = list(minibatches(keep, config, np.random.default_rng(0)))
    assert [len(i) for i, _ in got] == sizes
    assert all(critic is None for _, critic in got)
    assert keep[np.concatenate([i for i, _ in got])].all()


def test_weights_scale_the_losses():
    """Weight 2 on everything is twice the learning rate (SGD), weight 0 is being dropped."""
    rollout = small().collect()
    twice, fast = small(), small(lr=6e-3)
    twice.update(rollout, torch.full((256,), 2.0))
    fast.update(rollout)
    for p, q in zip(twice.policy.parameters(), fast.policy.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)
    mask = torch.arange(256) % 2 == 0
    by_mask, by_weight = small(), small()
    by_mask.update(rollout, mask)
    by_weight.update(rollout, mask.float().numpy())
    assert same_parameters(by_mask, by_weight)


def test_history_is_tidy():
    agent = small(keep=IIF(0.5), n_envs=2)
    seen = []
    history = agent.learn(
        3,
        episodes=4,
        evaluate_every=2,
        progress=False,
        callback=lambda a, rollout, scores, keep: seen.append((a.round, len(scores), keep.sum())),
    )
    assert list(history["round"]) == [1, 2, 3] and list(history["steps"]) == [256, 512, 768]
    assert history["return_mean"].isna().tolist() == [True, False, False]  # every 2nd and the last
    assert [(r, n) for r, n, _ in seen] == [(1, 256), (2, 256), (3, 256)]
    assert history["kept"].tolist() == [int(k) for *_, k in seen]
    assert history["optimizer_steps"].is_monotonic_increasing
    assert (history["kept"] < 256).all() and (history[TIMES] >= 0).all().all()
    assert len(agent.learn(0, progress=False)) == 3


def test_evaluation_uses_the_same_episodes_for_every_agent_and_leaves_the_run_alone():
    agent = small()
    first = agent.evaluate(5)
    assert agent.evaluate(5) == first and not first.exact and first.n == 5 and first.se > 0
    agent.collect()
    assert agent.evaluate(5) == first
    same = small(seed=1)
    same.policy.load_state_dict(agent.policy.state_dict())
    assert same.evaluate(5) == first


def test_a_callable_filter_and_a_random_control():
    agent = small(keep=lambda agent, rollout: rollout.action == 1)
    assert agent.learn(1, episodes=0, progress=False)["kept"].item() < 256
    control = small(keep=RandomDrop(like=lambda agent, rollout: rollout.action == 1))
    assert (
        control.learn(1, episodes=0, progress=False)["kept"].item() == agent.history["kept"].iloc[0]
    )


def test_a_filter_that_breaks_its_promise_is_named():
    agent = small()
    rollout = agent.collect()
    for keep, message in [
        (torch.ones(5, dtype=torch.bool), r"keep: shape \(5,\), expected \(256,\)"),
        (torch.ones(256, dtype=torch.long), "keep: dtype"),
        (torch.full((256,), -1.0), "keep: a weight is negative"),
        (torch.full((256,), torch.nan), "keep: a weight"),
        (torch.zeros(256, dtype=torch.bool), "keep: every record is dropped"),
    ]:
        with pytest.raises(ValueError, match=message):
            agent.update(rollout, keep)


def test_a_rollout_of_another_task_is_refused():
    with pytest.raises(ValueError, match="made by another policy"):
        small("CartPole").update(small("Acrobot").collect())


def test_an_exploding_update_is_refused_and_the_agent_keeps_its_parameters():
    agent = small(lr=1e25)
    before = [p.detach().clone() for p in agent.policy.parameters()]
    with pytest.raises(FloatingPointError, match="round 1"):
        agent.update(agent.collect())
    assert all(torch.equal(p, q) for p, q in zip(agent.policy.parameters(), before, strict=True))
    assert agent.round == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 1.5}, "gamma: 1.5, expected a number from 0 to 1"),
        ({"lr": 0.0}, "lr: 0.0, expected a number above 0"),
        ({"batch_size": 1}, "batch_size: 1, expected a whole number from 2"),
        ({"lr": "1e-3"}, "lr: '1e-3', expected a number above 0"),
        ({"vf_coef": float("nan")}, "vf_coef: nan, expected a number"),
        (
            {"lr": 1e-2, "lr_max": 1e-3, "desired_kl": 0.01},
            "lr: 0.01, expected no more than lr_max, 0.001",
        ),
        ({"threads": 0}, "threads: 0, expected a whole number from 1"),
        ({"n_envs": 0}, "n_envs: 0, expected a whole number from 1"),
        ({"keep": "iif"}, "keep: 'iif', expected a function of agent and rollout"),
        ({"repair": True}, "repair: True, expected a function of agent and rollout"),
        ({"device": "gpu"}, "device: 'gpu', expected one that torch has here"),
        ({"optimizer": "lion"}, "optimizer: 'lion', expected one of"),
        ({"critic": "none"}, "critic: 'none', expected one of"),
        ({"max_grad_norm": -1.0}, "max_grad_norm: -1.0"),
        ({"desired_kl": 0.0}, "desired_kl: 0.0, expected None or a number above 0"),
        ({"critic_lr": 0.0}, "critic_lr: 0.0, expected None or a number above 0"),
        ({"preset": "mine"}, "preset: 'mine', expected one of"),
        ({"seed": -1}, "seed: -1, expected a whole number from 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PPO("CartPole", **settings)


def test_a_paced_run_steers_its_rate_towards_the_kl_it_wants():
    plain, paced = (PPO("FrozenLake", seed=0, compile=False, desired_kl=k) for k in (None, 5e-3))
    slow, steered = (agent.learn(6, progress=False) for agent in (plain, paced))
    assert "lr" not in slow and plain.config.lr == 5e-3
    first, second = steered.iloc[0], steered.iloc[1]
    assert first.kl == slow.kl[0] and first.lr == 5e-3  # the first round is PPO's
    assert first.kl < 5e-3 / 4 and second.lr == 2 * first.lr  # no more than twofold at once
    assert slow.kl[1:].max() < 2e-3 < steered.kl[3:].min() and steered.kl[3:].max() < 1e-2
    assert paced.config.lr_max == 8 * 5e-3 >= steered.lr.max()


@pytest.mark.parametrize(
    ("kl", "lr"), [(5e-3, 1.0), (2e-2, 0.5), (1.0, 0.5), (2e-3, 2.5**0.5), (1e-9, 2.0), (0.0, 2.0)]
)
def test_the_paced_rate_follows_the_square_root_within_twofold(kl, lr):
    config = PPOConfig(desired_kl=5e-3, lr=1.0)
    assert config.paced(kl).lr == pytest.approx(lr)
    assert PPOConfig(lr=1.0).paced(kl) == PPOConfig(lr=1.0)
    assert PPOConfig(desired_kl=5e-3, lr=1.0, lr_max=1.5).paced(1e-9).lr == 1.5
    highest = config.paced(1e-9).paced(1e-9).paced(1e-9).paced(1e-9)
    assert highest.lr == highest.lr_max == 8.0 and highest.critic_lr == 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_critic_has_a_rate_of_its_own(optimizer):
    settings = {"seed": 0, "compile": False, "optimizer": optimizer, "lr": 1e-2}
    one, other = PPO("CartPole", **settings), PPO("CartPole", **settings, critic_lr=1e-12)
    start = {k: p.clone() for k, p in other.policy.state_dict().items()}
    rollout = one.collect()
    for agent in (one, other):
        agent.update(rollout if agent is one else agent.collect())
    for name, p in other.policy.state_dict().items():
        moved = not torch.allclose(p, start[name], atol=1e-6)
        assert moved == (not name.startswith("v.")), name
        if not name.startswith("v."):
            assert torch.equal(p, one.policy.state_dict()[name])


def test_an_unknown_setting_is_named():
    with pytest.raises(TypeError, match="learning_rate"):
        PPO("CartPole", learning_rate=1e-3)


def test_standardise_follows_the_released_formula():
    a = torch.tensor([1.0, 2.0, 6.0])
    torch.testing.assert_close(standardise(a), (a - 3) / (7**0.5 + 1e-8))
    assert standardise(torch.tensor([4.0])).tolist() == [0.0]


def test_bad_arguments_of_learn_are_named_before_anything_is_learnt():
    agent = small()
    for name, value, least in (("rounds", -1, 0), ("episodes", -3, 0), ("evaluate_every", 0, 1)):
        with pytest.raises(
            ValueError, match=f"{name}: {value}, expected a whole number from {least}"
        ):
            agent.learn(**({"rounds": 1} | {name: value}))
    assert agent.round == agent.collected == 0


def test_the_agent_hands_on_the_scores_of_its_filter():
    agent = small(keep=IIF(0.5))
    agent.learn(1, episodes=0, progress=False)
    assert agent.scores is agent.keep.scores and len(agent.scores) == agent.config.n_steps
    assert small().scores is None


def test_numpy_numbers_are_numbers():
    assert small(seed=np.int64(3)).seed == 3


def test_a_function_that_hands_out_one_environment_is_recognised():
    env = Corridor()
    agent = PPO(lambda: env, n_steps=64, batch_size=32)
    assert agent.task.shared
    agent.collect()
    agent.evaluate(2)  # in the agent's own environment: its next record begins an episode
    assert int(agent.collect().t[0]) == 0
    assert not small(Corridor).task.shared
    with pytest.raises(TypeError, match="the function returned 3"):
        PPO(lambda: 3)


@pytest.mark.slow
def test_each_arithmetic_compiles_however_many_there_are():
    import torch._dynamo

    from lda_lib.step import make_step

    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=2):
        for clip in (0.11, 0.12, 0.13, 0.14):
            agent = small(clip=clip, compile=True)
            assert make_step(agent.policy.arch, agent.config, True) is not None
            agent.update(agent.collect())


def test_a_restarted_arm_closes_the_environments_it_leaves():
    class Counted(Corridor):
        open = 0

        def __init__(self):
            super().__init__()
            type(self).open += 1

        def close(self):
            type(self).open -= 1

    agent = PPO(Counted, preset="as_released", keep=IIF(0.5), n_steps=64, batch_size=32)
    agent.collect()
    before = Counted.open
    for _ in range(3):
        agent.collect()
    assert Counted.open == before
