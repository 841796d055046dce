"""Scores and filters on the unmodified Stable-Baselines3: real models in real environments."""

from __future__ import annotations

import json
import zipfile

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium import spaces

from lda_lib import IIF, Action, RandomDrop, TDError, influence, score_table

sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.env_util import make_vec_env  # noqa: E402
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv  # noqa: E402
from stable_baselines3.common.logger import KVWriter, Logger  # noqa: E402
from stable_baselines3.common.torch_layers import FlattenExtractor  # noqa: E402
from stable_baselines3.common.vec_env import VecEnv, VecNormalize  # noqa: E402

from lda_lib.sb3 import (  # noqa: E402
    FilterableDictRolloutBuffer,
    FilterableRolloutBuffer,
    FilterCallback,
    IIFCallback,
    agent_from,
    fresh_rollout,
    load_model,
    policy_from,
    rollout_from,
)

from .synthetic import relative_gap  # noqa: E402
from .test_cli import lda  # noqa: E402

pytestmark = pytest.mark.slow  # left out of `make check`


class Levers(gym.Env):
    """Pull several levers at once; the reward counts those that agree with the lights."""

    observation_space = spaces.Box(0, 1, (3,), np.float32)

    def __init__(self, action_space=None):
        self.action_space = action_space or spaces.MultiDiscrete([2, 3, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.lights = 0, self.np_random.integers(2, size=3)
        return self.lights.astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        reward = float((np.ravel(action)[:3] == self.lights).sum())
        self.lights = self.np_random.integers(2, size=3)
        return self.lights.astype(np.float32), reward, self.t >= 9, False, {}


def model_of(
    algorithm="PPO", env="CartPole-v1", n_envs=3, policy="MlpPolicy", env_kwargs=None, **kw
):
    vec = env
    if not isinstance(env, VecEnv):
        np.random.seed(0)  # SimpleMultiObsEnv draws its pictures from the global source
        vec = make_vec_env(env, n_envs, seed=0, env_kwargs=env_kwargs)
    own = {"n_steps": 32, "batch_size": 16, "n_epochs": 2} if algorithm == "PPO" else {}
    defaults = {"seed": 0, "device": "cpu", "rollout_buffer_class": FilterableRolloutBuffer}
    return getattr(sb3, algorithm)(policy, vec, **(defaults | own | kw))


def weights(model):
    return {k: x.clone() for k, x in model.policy.state_dict().items()}


def same(one, other) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one)


CASES = {
    "discrete": {"env": "CartPole-v1"},
    "one environment": {"env": "CartPole-v1", "n_envs": 1},
    "discrete observations": {"env": "FrozenLake-v1"},
    "box": {"env": "Pendulum-v1"},
    "gSDE": {"env": "Pendulum-v1", "use_sde": True},
    "squashed": {"env": "Pendulum-v1", "use_sde": True, "policy_kwargs": {"squash_output": True}},
    "multidiscrete": {"env": Levers},
    "multibinary": {"env": Levers, "env_kwargs": {"action_space": spaces.MultiBinary(3)}},
    "dict": {"env": SimpleMultiObsEnv, "policy": "MultiInputPolicy"},
    "a2c": {"algorithm": "A2C", "n_steps": 16},
    "a2c normalised": {"algorithm": "A2C", "n_steps": 16, "normalize_advantage": True},
}


class Watch(FilterCallback):
    """Compares the callback's scores with one backward pass per record, before the update."""

    def _on_rollout_end(self):
        before, own = weights(self.model), list(self.model.policy.parameters())
        super()._on_rollout_end()
        assert same(before, weights(self.model))
        assert all(x is y for x, y in zip(own, self.model.policy.parameters(), strict=True))
        agent = agent_from(self.model)
        agent.round = self.agent.round - 1  # the same groups of standardisation
        config = agent.config
        self.loop = influence(
            policy_from(self.model), rollout_from(self.model), method="loop",
            normalize=config.normalize, batch_size=config.batch_size, rng=agent.rng("score"),
        )  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_scores_of_the_callback_equal_the_loop(case):
    model = model_of(**CASES[case])
    watch = Watch(IIF(drop=0.5))
    model.learn(2 * model.n_steps * model.n_envs, callback=watch)
    n = model.n_steps * model.n_envs
    assert len(watch.scores) == 2 and watch.scores[-1].shape == (n,)
    assert float(watch.loop.abs().max()) > 0
    assert relative_gap(watch.scores[-1], watch.loop) < 1e-6
    dropped = int((~watch.kept[-1]).sum())
    assert dropped == int(0.5 * int((watch.scores[-1] < 0).sum())) > 0


class Double(FlattenExtractor):
    """SB3 turns observations into float32; this turns them into float64."""

    def forward(self, observations):
        return super().forward(observations).double()


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_scores_equal_the_loop_in_double_precision(env):
    model = model_of(env=env, policy_kwargs={"features_extractor_class": Double})
    model.policy.double()
    watch = Watch(IIF(drop=0.5))
    model.learn(96, callback=watch)
    assert watch.scores[0].dtype == torch.float64
    assert relative_gap(watch.scores[0], watch.loop) < 1e-10


class Plain(FilterCallback):
    """Keeps what there is to keep, and the numbers that SB3's logger gets."""

    def __init__(self, keep):
        super().__init__(keep)
        self.logged: list[dict] = []

    def _on_rollout_end(self):
        super()._on_rollout_end()
        self.logged.append(dict(self.logger.name_to_value))


@pytest.mark.parametrize(
    "case",
    [
        {"env": "CartPole-v1"},
        {"env": "CartPole-v1", "batch_size": 20},  # 96 records leave a remainder
        {"algorithm": "A2C"},
        {"env": "Pendulum-v1", "use_sde": True},
        {"env": SimpleMultiObsEnv, "policy": "MultiInputPolicy"},
    ],
    ids=str,
)
def test_dropping_nothing_is_plain_sb3_bit_for_bit(case):
    """The same parameters and the same optimiser state, from SB3's own buffer and none of ours."""
    plain = model_of(**case, rollout_buffer_class=None)
    plain.learn(300)
    assert not isinstance(plain.rollout_buffer, FilterableRolloutBuffer)
    ours, callback = model_of(**case), IIFCallback(drop=0)  # made anew: SB3's seeds are global
    ours.learn(300, callback=callback)
    assert same(weights(plain), weights(ours))
    states = [m.policy.optimizer.state_dict()["state"] for m in (plain, ours)]
    for k, state in states[0].items():
        assert same({n: x for n, x in state.items() if torch.is_tensor(x)}, states[1][k])
    assert len(callback.scores) >= 3 and any((s < 0).any() for s in callback.scores)
    dropping = model_of(**case)
    dropping.learn(300, callback=IIFCallback(drop=0.5))
    assert not same(weights(plain), weights(dropping))


def test_a_look_at_fresh_records_leaves_the_logger(capsys):
    class Look(FilterCallback):
        def _on_rollout_end(self):
            super()._on_rollout_end()
            fresh_rollout(self.model, 32)

    model = model_of(n_steps=64, verbose=1)
    model.learn(500, callback=Look(IIF(0.5)))  # three rounds of 3 times 64 steps
    assert capsys.readouterr().out.count("influence/") >= 3


def test_records_are_those_of_the_buffer():
    """Env by env, step by step; advantages follow from rewards, values and ends alone."""
    model = model_of(n_envs=3, n_steps=64)
    rollout = fresh_rollout(model, 64)
    assert len(rollout) == 192
    assert rollout.env.tolist() == [0] * 64 + [1] * 64 + [2] * 64
    for e in range(3):
        mine = rollout[rollout.env == e]
        ended = mine.terminated.numpy()
        assert ended.any()
        assert (mine.t[1:] == torch.where(mine.terminated[:-1], 0, mine.t[:-1] + 1)).all()
        assert (mine.episode[1:] != mine.episode[:-1]).tolist() == ended[:-1].tolist()
        delta = mine.reward[:-1] + 0.99 * mine.value[1:] * ~mine.terminated[:-1] - mine.value[:-1]
        carry = 0.99 * 0.95 * ~mine.terminated[:-1] * mine.advantage[1:]
        assert torch.allclose(mine.advantage[:-1], delta + carry, atol=1e-5)
    assert len(set(zip(rollout.episode.tolist(), rollout.t.tolist(), strict=True))) == 192
    with torch.no_grad():
        again = policy_from(model).log_prob(rollout.obs, rollout.action)
    assert torch.allclose(again, rollout.logp, atol=1e-5)
    assert rollout.task.name == "PPO on CartPole-v1"
    table = score_table(rollout, influence(policy_from(model), rollout))
    assert {"obs0", "obs3", "action", "advantage"} <= set(table) and len(table) == 192


def test_a_rollout_is_the_same_before_and_after_sb3_flattens_its_buffer():
    model = model_of(env=SimpleMultiObsEnv, policy="MultiInputPolicy")
    callback = Watch(None)
    model.learn(96, callback=callback)
    assert model.rollout_buffer.generator_ready
    after, before = rollout_from(model), callback.rollout
    assert all(torch.equal(x, after.tensors()[k]) for k, x in before.tensors().items())


def test_a_stale_buffer_is_noticed():
    model = model_of(learning_rate=0.05)
    model.learn(96)
    with pytest.warns(UserWarning, match="stale"):
        influence(policy_from(model), rollout_from(model))


@pytest.mark.parametrize("method", ["vmap", "loop"])
def test_methods_agree_on_packed_observations(method):
    model = model_of(env=SimpleMultiObsEnv, policy="MultiInputPolicy")
    rollout, policy = fresh_rollout(model, 8), policy_from(model)
    assert rollout.obs.shape == (24, 4096 + 5) and rollout.task.spaces.obs_kind == "vector"
    parts = policy.packing.unpack(rollout.obs)
    assert {k: tuple(x.shape[1:]) for k, x in parts.items()} == {"img": (1, 64, 64), "vec": (5,)}
    jvp = influence(policy, rollout)
    assert relative_gap(influence(policy, rollout, method=method), jvp) < 1e-5
    asked = Action(rollout.obs[3], 2)
    assert relative_gap(influence(policy, rollout, asked, method=method),
                        influence(policy, rollout, asked)) < 1e-5  # fmt: skip


def test_the_full_loss_is_sb3s_own():
    """Sum of the scores with value and entropy terms = - <v, gradient of PPO's summed loss>."""
    model = model_of(ent_coef=0.01, policy_kwargs={"features_extractor_class": Double})
    model.policy.double()
    rollout, policy = fresh_rollout(model), policy_from(model)
    settings = {"normalize": "rollout", "score_loss": "full", "ent_coef": 0.01}
    scores = influence(policy, rollout, **settings)
    value, log_prob, entropy = model.policy.evaluate_actions(rollout.obs, rollout.action)
    a = (rollout.advantage - rollout.advantage.mean()) / (rollout.advantage.std() + 1e-8)
    loss = -(a * (log_prob - rollout.logp).exp()).sum() - 0.01 * entropy.sum()
    loss = loss + 0.5 * ((value.flatten() - rollout.ret) ** 2).sum()
    gradient = torch.autograd.grad(loss, list(model.policy.parameters()))
    target = (policy.log_prob(rollout.obs, rollout.action) * rollout.advantage).mean()
    v = torch.autograd.grad(target, list(model.policy.parameters()), allow_unused=True)
    expected = -sum((g * x).sum() for g, x in zip(gradient, v, strict=True) if x is not None)
    assert float(scores.sum()) == pytest.approx(float(expected), rel=1e-6)


def test_images_are_scored_as_the_policy_sees_them():
    kwargs = {"screen_height": 40, "screen_width": 40, "n_channels": 1, "discrete": True}
    model = model_of(env=FakeImageEnv, policy="CnnPolicy", n_envs=2, n_steps=8, env_kwargs=kwargs)
    watch = Watch(IIF(drop=0.5))
    model.learn(16, callback=watch)
    assert watch.rollout.obs.shape == (16, 1, 40, 40) and watch.rollout.obs.max() > 1
    assert watch.rollout.task.spaces.obs_kind == "image"
    assert relative_gap(watch.scores[0], watch.loop) < 1e-5
    assert "obs0" not in watch.rollout.table()


def test_normalised_environments():
    """The policy's own (normalised) view is scored; a fresh rollout leaves the statistics alone."""
    vec = VecNormalize(make_vec_env("Pendulum-v1", 3, seed=0))
    model = model_of(env=vec)
    watch = Watch(IIF(drop=0.5))
    model.learn(192, callback=watch)
    assert relative_gap(watch.scores[-1], watch.loop) < 1e-6
    before = vec.obs_rms.mean.copy(), vec.obs_rms.count, vec.ret_rms.var
    rollout = fresh_rollout(model)
    assert (
        float(rollout.reward.abs().max()) < 5 < 1 + float(np.abs(vec.get_original_reward()).max())
    )
    assert np.array_equal(before[0], vec.obs_rms.mean) and vec.training
    assert before[1:] == (vec.obs_rms.count, vec.ret_rms.var)


def test_a_fresh_rollout_changes_nothing_that_is_learnt():
    model = model_of()
    model.learn(96)
    before, steps, buffer = weights(model), model.num_timesteps, model.rollout_buffer.rewards.copy()
    first = fresh_rollout(model, 16, seed=3)
    assert same(before, weights(model)) and model.num_timesteps == steps
    assert np.array_equal(buffer, model.rollout_buffer.rewards)
    again = fresh_rollout(model, 16, seed=3)
    assert all(torch.equal(x, again.tensors()[k]) for k, x in first.tensors().items())
    assert not torch.equal(first.obs, fresh_rollout(model, 16, seed=4).obs)


@pytest.mark.parametrize("env", ["CartPole-v1", SimpleMultiObsEnv])
def test_minibatches_hold_the_kept_records(env):
    policy = "MlpPolicy" if isinstance(env, str) else "MultiInputPolicy"
    model = model_of(env=env, policy=policy)
    fresh = model_of(env=env, policy=policy).rollout_buffer
    assert isinstance(fresh, FilterableDictRolloutBuffer) == (policy == "MultiInputPolicy")
    callback = FilterCallback(None)
    model.learn(96, callback=callback)
    buffer, n = model.rollout_buffer, 96
    names = {round(float(a), 5): i for i, a in enumerate(callback.rollout.advantage)}
    assert len(names) == n  # advantages name the records

    def epoch(size):
        return [[names[round(float(a), 5)] for a in batch.advantages] for batch in buffer.get(size)]

    def flat(batches):
        return [i for batch in batches for i in batch]

    keep = torch.arange(n) % 3 > 0  # 64 of 96
    kept = keep.nonzero().flatten().tolist()
    buffer.keep(keep)
    batches = epoch(16)
    assert [len(b) for b in batches] == [16] * 4
    assert sorted(flat(batches)) == kept
    assert epoch(16) != batches
    assert [len(b) for b in epoch(30)] == [30, 30]  # the remainder is left out
    assert [len(b) for b in epoch(None)] == [64]
    assert [len(b) for b in epoch(1000)] == [64]  # but never everything
    buffer.drop_remainder = False
    assert [len(b) for b in epoch(30)] == [30, 30, 4]
    buffer.equal_steps = True
    batches = epoch(16)
    assert [len(b) for b in batches] == [16] * 6 and set(flat(batches)) == set(kept)
    assert sorted(flat(batches[:4])) == kept
    buffer.keep(torch.where(keep, 2.0, 0.0))
    buffer.equal_steps = False
    counts = np.bincount(flat(epoch(16)), minlength=n)
    assert (counts == np.where(keep, 2, 0)).all()
    buffer.reset()
    assert buffer.weight is None


def test_options_reach_the_buffer():
    model = model_of(rollout_buffer_kwargs={"equal_steps": True, "drop_remainder": False})
    assert model.rollout_buffer.equal_steps and not model.rollout_buffer.drop_remainder
    model.learn(96, callback=IIFCallback(0.5))


@pytest.mark.parametrize(
    "keep", [RandomDrop(like=IIF(0.5)), TDError(), lambda agent, rollout: rollout.t > 2]
)
def test_any_filter_trains(keep):
    model = model_of()
    callback = FilterCallback(keep)
    model.learn(192, callback=callback)
    assert len(callback.kept) == 2 and (callback.kept[0] <= 0).any() and not callback.scores


def test_random_drop_drops_as_many():
    models = [model_of() for _ in range(2)]
    callbacks = [IIFCallback(0.5), FilterCallback(RandomDrop(like=IIF(0.5)))]
    for model, callback in zip(models, callbacks, strict=True):
        model.learn(96, callback=callback)
    iif, control = (c.kept[0] for c in callbacks)
    assert iif.sum() == control.sum() < 96 and (iif != control).any()


class Numbers(KVWriter):
    """What SB3 hands to its writers, TensorBoard's among them."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(
            {k: v for k, v in key_values.items() if "tensorboard" not in key_excluded[k]}
        )

    def close(self):
        pass


def test_numbers_reach_sb3s_writers():
    model, numbers = model_of(), Numbers()
    model.set_logger(Logger(None, [numbers]))
    callback = IIFCallback(0.5)
    model.learn(192, callback=callback)
    assert len(numbers.rows) == 2
    for row, scores, kept, last in zip(numbers.rows, callback.scores, callback.kept, (0, 1)):
        assert row["influence/dropped"] == pytest.approx(float((~kept).float().mean()))
        assert row["influence/negative"] == pytest.approx(float((scores < 0).float().mean()))
        assert row["influence/score_q50"] == pytest.approx(float(scores.quantile(0.5)), abs=1e-6)
        assert row["influence/score_q05"] < row["influence/score_q95"]
        assert row["influence/target_grad_norm"] > 0, last


def test_the_gradient_norm_is_that_of_the_target():
    """On the rollout it was made from: |v|^2 = mean of the scores with raw advantages."""
    model = model_of(algorithm="A2C", n_steps=16)
    callback = Plain(IIF(0.5))
    model.learn(48, callback=callback)
    mean = float(callback.scores[0].mean())
    assert callback.logged[0]["influence/target_grad_norm"] ** 2 == pytest.approx(mean, rel=1e-4)


def test_a_saved_model_goes_on_with_a_filter(tmp_path):
    plain = model_of(rollout_buffer_class=None)
    plain.learn(96)
    plain.save(tmp_path / "m")
    swap = {"rollout_buffer_class": FilterableRolloutBuffer}
    model = sb3.PPO.load(tmp_path / "m", env=plain.get_env(), custom_objects=swap)
    callback = IIFCallback(0.5)
    model.learn(96, callback=callback)
    model.learn(96, callback=callback)
    assert len(callback.scores) == 2 and callback.agent.round == 2


class Recurrent(sb3.ppo.MlpPolicy):
    def evaluate_actions(self, obs, actions, lstm_states):
        return super().evaluate_actions(obs, actions)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rollout_from(model_of()), ValueError, "holds 0 of 32 steps"),
        (
            lambda: rollout_from(sb3.DQN("MlpPolicy", "CartPole-v1", buffer_size=9)),
            TypeError,
            "DQN",
        ),
        (lambda: policy_from(model_of(policy=Recurrent)), TypeError, "lstm_states"),
        (lambda: fresh_rollout(model_of(), 0), ValueError, "n_steps: 0"),
        (lambda: IIFCallback(1.5), ValueError, "drop: 1.5"),
        (
            lambda: model_of(rollout_buffer_class=None).learn(96, callback=IIFCallback(0.5)),
            TypeError,
            "rollout_buffer_class=FilterableRolloutBuffer",
        ),
        (
            lambda: model_of().learn(96, callback=FilterCallback(lambda a, r: torch.ones(3))),
            ValueError,
            "keep: shape",
        ),
        (
            lambda: model_of().learn(96, callback=FilterCallback(lambda a, r: 0.5 + 0 * r.logp)),
            ValueError,
            "no whole numbers",
        ),
        (
            lambda: model_of().learn(96, callback=FilterCallback(lambda a, r: r.logp > 0)),
            ValueError,
            "every record is dropped",
        ),
        (lambda: fresh_rollout(model_of(), 8).restore(3), ValueError, "seed and actions"),
        (lambda: fresh_rollout(model_of(), 8).task.make(), ValueError, "made elsewhere"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sb3")
    vec = VecNormalize(make_vec_env("CartPole-v1", 2, seed=0))
    model = sb3.PPO("MlpPolicy", vec, n_steps=64, batch_size=32, n_epochs=2, seed=0, device="cpu")
    model.learn(128)
    model.save(folder / "ppo")
    vec.save(folder / "stats.pkl")
    sb3.A2C("MlpPolicy", "CartPole-v1", device="cpu").save(folder / "a2c")
    sb3.DQN("MlpPolicy", "CartPole-v1", buffer_size=9).save(folder / "dqn")
    (folder / "text.zip").write_text("no zip")
    (folder / "junk.pkl").write_text("junk")
    (folder / "empty.pkl").touch()
    with (
        zipfile.ZipFile(folder / "ppo.zip") as whole,
        zipfile.ZipFile(folder / "bare.zip", "w") as bare,
    ):
        told = json.loads(whole.read("data"))
        del told["observation_space"], told["action_space"]
        bare.writestr("data", json.dumps(told))
    return folder


def test_the_command_line_scores_a_saved_model(saved, tmp_path):
    out = tmp_path / "scores.csv"
    args = ["score", "--sb3", saved / "ppo.zip", "--env", "CartPole-v1"]
    stats = ["--vecnormalize", saved / "stats.pkl"]
    text = lda(*args, *stats, "--records", 500, "--out", out)
    assert "bottom 5 records" in text
    table = pd.read_csv(out)
    assert list(table.columns[:4]) == ["index", "score", "episode", "t"] and len(table) == 500
    assert table["score"].abs().is_monotonic_decreasing and (table["score"] < 0).any()
    # normalised as in training: positions of a pole that hardly moves have a spread near 1
    assert table["obs1"].std() > 0.5 and (table["t"] == 0).sum() > 5
    # the very scores that the library gives
    model = load_model(saved / "ppo.zip", "CartPole-v1", vecnormalize=saved / "stats.pkl")
    rollout = fresh_rollout(model, 500, seed=0)
    scores = influence(
        policy_from(model), rollout, batch_size=32, rng=agent_from(model).rng("score")
    )
    assert np.allclose(table.sort_values("index")["score"], scores, rtol=1e-3, atol=1e-6)
    assert len(model.get_env().get_attr("spec")) == 1 and not model.get_vec_normalize_env().training
    raw = lda(*args, "--records", 500, "--top", 1)
    assert raw != lda(*args, "--records", 500, "--top", 1, "--seed", 1)
    assert raw == lda(*args, "--records", 500, "--top", 1, "--seed", 0)
    assert lda(*args, "--records", 50, "--target", "action", "--record", 3, "--top", 1)
    assert lda("score", "--sb3", saved / "a2c.zip", "--env", "CartPole-v1", "--records", 50)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--sb3", "ppo.zip"], "--sb3 needs --env"),
        (["--env", "CartPole-v1"], "--env needs --sb3"),
        ([], "expected RUN"),
        (["runs/x", "--sb3", "ppo.zip", "--env", "CartPole-v1"], "only one of the two"),
        (["--sb3", "nowhere.zip", "--env", "CartPole-v1"], "no file 'nowhere.zip'"),
        (["--sb3", "text.zip", "--env", "CartPole-v1"], "no model saved by Stable-Baselines3"),
        (["--sb3", "dqn.zip", "--env", "CartPole-v1"], "no on-policy model"),
        (["--sb3", "ppo.zip", "--env", "Nowhere-v0"], "cannot make 'Nowhere-v0'"),
        (["--sb3", "ppo.zip", "--env", "nomodule:Nowhere-v0"], "cannot make"),
        (["--sb3", "ppo.zip", "--env", "Pendulum-v1"], "spaces do not match"),
        (["--sb3", "ppo.zip", "--env", "CartPole-v1", "--vecnormalize", "no.pkl"], "no file"),
        (
            ["--sb3", "ppo.zip", "--env", "CartPole-v1", "--vecnormalize", "junk.pkl"],
            "vecnormalize: 'junk.pkl', expected",
        ),
        (
            ["--sb3", "ppo.zip", "--env", "CartPole-v1", "--vecnormalize", "empty.pkl"],
            "vecnormalize: 'empty.pkl', expected",
        ),
        (["--sb3", "bare.zip", "--env", "CartPole-v1"], "path: 'bare.zip', expected a whole PPO"),
    ],
)
def test_the_command_line_says_what_is_wrong(args, message, saved, monkeypatch):
    monkeypatch.chdir(saved)
    assert message in lda("score", *args, ok=False)


def test_the_help_warns_of_files_one_does_not_trust():
    text = " ".join(lda("score", "--help").split())
    assert "only files that you trust" in text and "unpickles" in text


def test_fresh_records_leave_no_mark_on_the_models_statistics():
    model = model_of()
    model.learn(96)
    before = list(model.ep_info_buffer)
    fresh_rollout(model, 64)
    assert list(model.ep_info_buffer) == before


def test_a_setting_changed_between_two_calls_reaches_the_scores():
    model, callback = model_of(), IIFCallback(0.5)
    model.learn(96, callback=callback)
    model.gamma, model.ent_coef = 0.5, 0.01
    model.learn(96, callback=callback)
    assert (callback.agent.config.gamma, callback.agent.config.ent_coef) == (0.5, 0.01)
