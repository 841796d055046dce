"""The scores are what they say they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lda_lib import PPO, Action, Return, influence, influence_history, score_table
from lda_lib.attribution import target_gradient
from lda_lib.loss import policy_loss, standardise
from lda_lib.own import Scorable

from .synthetic import make_rollout, pair, relative_gap

KINDS = [("discrete", 3), ("box", 2)]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 17),
    hidden=st.lists(st.integers(1, 8), max_size=3).map(tuple),
    kind=st.sampled_from(KINDS),
    loss=st.sampled_from(["policy", "full"]),
    normalize=st.sampled_from(["minibatch", "rollout", "none"]),
    seed=st.integers(0, 99),
)
def test_all_methods_equal_the_autograd_loop(n, hidden, kind, loss, normalize, seed):
    policy, rollout = pair(n, kind=kind[0], dim=kind[1], hidden=hidden, seed=seed)
    how = {"score_loss": loss, "normalize": normalize, "batch_size": 4, "ent_coef": 0.1}
    loop = influence(policy, rollout, method="loop", **how)
    assert loop.shape == (n,)
    for method in ("jvp", "ghost", "vmap"):
        assert relative_gap(influence(policy, rollout, method=method, **how), loop) < 1e-10


@pytest.mark.parametrize(("kind", "dim"), KINDS)
@pytest.mark.parametrize("loss", ["policy", "full"])
def test_all_methods_agree_on_a_convolutional_policy(kind, dim, loss):
    policy, rollout = pair(9, (3, 7, 7), kind, dim)
    loop = influence(policy, rollout, method="loop", score_loss=loss)
    for method in ("jvp", "ghost", "vmap"):
        scores = influence(policy, rollout, method=method, score_loss=loss)
        assert relative_gap(scores, loop) < 1e-10


class Biasless(nn.Module):
    """A policy from someone else's code: no bias, one method."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 3, bias=False, dtype=torch.float64)

    def log_prob(self, obs, action):
        return self.net(obs).log_softmax(-1).gather(-1, action[:, None]).squeeze(-1)


def test_any_module_with_log_prob_is_scored_and_the_linear_softmax_case_is_analytic():
    torch.manual_seed(0)
    policy = Biasless()
    rollout = make_rollout(policy, 11, (5,), "discrete", 3)
    with torch.no_grad():
        p = policy.net(rollout.obs).softmax(-1)
    # grad log pi(a | s) = (onehot(a) - p) s^T, written out
    g = torch.einsum("na,nd->nad", torch.eye(3, dtype=p.dtype)[rollout.action] - p, rollout.obs)
    v = torch.einsum("n,nad->ad", rollout.advantage, g) / 11
    by_hand = rollout.advantage * torch.einsum("nad,ad->n", g, v)
    for method in ("jvp", "ghost", "vmap", "loop"):
        scores = influence(policy, rollout, method=method, normalize="none")
        assert relative_gap(scores, by_hand) < 1e-12


@pytest.mark.parametrize(("kind", "dim"), KINDS)
def test_score_is_the_central_difference_of_the_target_along_the_negative_loss_gradient(kind, dim):
    policy, rollout = pair(6, kind=kind, dim=dim)
    for target in (Return(), Action(rollout.obs[2], rollout.action[1])):
        scores = influence(policy, rollout, target, normalize="rollout")
        advantage = standardise(rollout.advantage)
        start = {k: p.detach().clone() for k, p in policy.named_parameters()}
        for i in range(6):
            one = rollout[i]
            log_prob = policy.log_prob(one.obs, one.action)
            loss = policy_loss(log_prob, one.logp, advantage[i : i + 1], 0.2).sum()
            policy.zero_grad()
            loss.backward()
            step = {k: None if p.grad is None else p.grad.clone() for k, p in
                    policy.named_parameters()}  # fmt: skip
            ends = []
            for h in (1e-5, -1e-5):
                with torch.no_grad():
                    for k, p in policy.named_parameters():
                        p.copy_(start[k] - (0 if step[k] is None else h * step[k]))
                    ends.append(target(policy, rollout))
            with torch.no_grad():
                for k, p in policy.named_parameters():
                    p.copy_(start[k])
            assert float((ends[0] - ends[1]) / 2e-5) == pytest.approx(float(scores[i]), rel=1e-6)


def test_one_real_sgd_step_moves_the_target_by_lr_times_the_score():
    policy, rollout = pair(6)
    scores = influence(policy, rollout, normalize="none", score_loss="full", method="loop")
    errors = []
    for lr in (1e-3, 5e-4):
        model, records = pair(6)
        optimiser = torch.optim.SGD(model.parameters(), lr)
        before = Return()(model, records).item()
        log_prob, value, _ = model(records.obs[:1], records.action[:1])
        loss = policy_loss(log_prob, records.logp[:1], records.advantage[:1], 0.2)
        (loss + 0.5 * (value - records.ret[:1]) ** 2).sum().backward()
        optimiser.step()
        errors.append(abs(Return()(model, records).item() - before - lr * float(scores[0])))
        assert errors[-1] < 0.05 * abs(lr * float(scores[0]))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # what is left is O(lr^2)


def test_scores_sum_to_the_product_of_target_and_summed_loss_gradients():
    policy, rollout = pair(17)
    params = {k: p.detach() for k, p in policy.named_parameters()}
    v = target_gradient(policy, params, rollout, Return())
    policy.zero_grad()
    log_prob = policy.log_prob(rollout.obs, rollout.action)
    policy_loss(log_prob, rollout.logp, rollout.advantage, 0.2).sum().backward()
    total = sum(-(p.grad * v[k]).sum() for k, p in policy.named_parameters() if p.grad is not None)
    scores = influence(policy, rollout, normalize="none")
    assert float(scores.sum()) == pytest.approx(float(total), rel=1e-12)


@pytest.mark.parametrize("normalize", ["none", "rollout"])
def test_order_does_not_matter_and_twins_score_alike(normalize):
    policy, rollout = pair(13)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(1))
    scores = influence(policy, rollout, normalize=normalize)
    shuffled = influence(policy, rollout[order], normalize=normalize)
    assert relative_gap(shuffled, scores[order]) < 1e-12
    twins = influence(policy, rollout[torch.cat([order, order])], normalize=normalize)
    assert relative_gap(twins[:13], twins[13:]) < 1e-12


def test_without_normalisation_a_record_without_advantage_has_no_influence():
    policy, rollout = pair(8)
    advantage = rollout.advantage.clone()
    advantage[3] = 0.0
    scores = influence(policy, replace(rollout, advantage=advantage), normalize="none")
    assert scores[3] == 0 and (scores != 0).sum() == 7


def test_released_normalisation_gives_the_released_scores():
    """The paper's score: A_i, standardised in groups, times < grad log pi_i, v >, A raw in v."""
    agent = PPO("Acrobot", seed=3, n_steps=200)
    rollout = agent.collect()
    rng = np.random.default_rng(5)
    scores = influence(agent.policy, rollout, rng=np.random.default_rng(5))
    order = rng.permutation(200)
    advantage = torch.empty(200)
    for start in range(0, 200, 64):
        group = order[start : start + 64]
        a = rollout.advantage[group].numpy()
        scaled = (a - a.mean()) / (a.std(ddof=1) + 1e-8)
        advantage[group] = torch.from_numpy(scaled.astype(np.float32))
    actor = [p for p in agent.policy.pi.parameters()]
    log_prob = agent.policy.log_prob(rollout.obs, rollout.action)
    v = torch.autograd.grad((log_prob * rollout.advantage).mean(), actor)
    by_hand = []
    for i in range(200):
        one = agent.policy.log_prob(rollout.obs[i : i + 1], rollout.action[i : i + 1])
        g = torch.autograd.grad(one.sum(), actor)
        by_hand.append(advantage[i] * sum((x * y).sum() for x, y in zip(g, v, strict=True)))
    assert relative_gap(scores, torch.stack(by_hand)) < 1e-5  # float32


def test_tracin_sums_over_the_minibatches_that_held_the_record():
    agent = PPO("CartPole", seed=0, n_steps=96, batch_size=32, epochs=3, compile=False)
    rollout = agent.collect()
    trace = agent.update(rollout, trace=True)
    scores = influence(agent.policy, rollout, trace=trace)
    assert len(trace.params) == 9
    expected = torch.zeros(96)
    for params, index in zip(trace.params, trace.index, strict=True):
        agent.policy.load_state_dict(params)
        batch = rollout[index]
        a = standardise(batch.advantage)
        log_prob = agent.policy.log_prob(rollout.obs, rollout.action)
        v = torch.autograd.grad(
            (log_prob * rollout.advantage).mean(), list(agent.policy.pi.parameters())
        )
        for j, i in enumerate(index):
            one = batch[j]
            loss = policy_loss(
                agent.policy.log_prob(one.obs, one.action), one.logp, a[j : j + 1], 0.2
            ).sum()
            g = torch.autograd.grad(loss, list(agent.policy.pi.parameters()))
            expected[i] -= sum((x * y).sum() for x, y in zip(g, v, strict=True))
    assert relative_gap(scores, expected) < 1e-4  # float32, 9 steps


def test_tracin_accounts_for_the_change_of_the_target_under_sgd():
    agent = PPO("CartPole", seed=0, n_steps=128, batch_size=32, epochs=2, lr=1e-3, compile=False)
    rollout = agent.collect()
    target = Action(rollout.obs[7], int(rollout.action[7]))
    with torch.no_grad():
        before = target(agent.policy, rollout)
    trace = agent.update(rollout, trace=True)
    with torch.no_grad():
        moved = float(target(agent.policy, rollout) - before)
    scores = influence(agent.policy, rollout, target, trace=trace)
    assert moved != 0
    assert float(scores.sum()) * 1e-3 / 32 == pytest.approx(moved, rel=0.05)


def test_history_of_a_run_adds_up_over_rounds():
    agent = PPO("FrozenLake", seed=0, n_steps=128, batch_size=32, epochs=2, compile=False)
    target, rounds, moved = Action(0, 2), [], []
    for _ in range(2):
        rollout = agent.collect()
        with torch.no_grad():
            before = target(agent.policy, rollout)
        rounds.append((rollout, agent.update(rollout, trace=True)))
        with torch.no_grad():
            moved.append(float(target(agent.policy, rollout) - before))
    table = influence_history(agent.policy, rounds, target)
    assert table["round"].value_counts().to_dict() == {1: 128, 2: 128}
    by_round = table.groupby("round").score.sum() * agent.config.lr / 32
    assert by_round.tolist() == pytest.approx(moved, rel=0.1)


def test_scoring_leaves_parameters_and_gradients_alone():
    policy, rollout = pair(8)
    before = {k: p.detach().clone() for k, p in policy.named_parameters()}
    for p in policy.parameters():
        p.grad = torch.full_like(p, 2.0)
    for method in ("jvp", "ghost", "vmap", "loop"):
        influence(policy, rollout, method=method)
    for k, p in policy.named_parameters():
        assert torch.equal(p, before[k]) and bool((p.grad == 2.0).all())


def test_user_made_targets_are_scored():
    policy, rollout = pair(8)

    def entropy(p, records):
        return p(records.obs, records.action)[2].mean()

    loop = influence(policy, rollout, entropy, method="loop")
    assert relative_gap(influence(policy, rollout, entropy), loop) < 1e-10
    assert loop.abs().max() > 0


def test_return_on_a_reference_rollout_and_action_by_state_number():
    policy, rollout = pair(8)
    other = make_rollout(policy, 5, (5,), "discrete", 3, seed=9)
    assert not torch.equal(
        influence(policy, rollout, Return(reference=other)), influence(policy, rollout)
    )
    same = replace(rollout, obs=torch.eye(5, dtype=torch.float64)[torch.arange(8) % 5])
    with torch.no_grad():
        same = replace(same, logp=policy.log_prob(same.obs, same.action))
    by_number = influence(policy, same, Action(2, 1))
    assert torch.equal(by_number, influence(policy, same, Action(same.obs[2], 1)))
    with pytest.raises(ValueError, match="obs: index 7"):
        influence(policy, same, Action(7, 1))


def test_score_table_orders():
    policy, rollout = pair(8)
    scores = influence(policy, rollout)
    table = score_table(rollout, scores)
    assert list(table.columns[:4]) == ["index", "score", "episode", "t"]
    assert table["score"].is_monotonic_decreasing
    assert score_table(rollout, scores, "extremes")["score"].abs().is_monotonic_decreasing
    assert score_table(rollout, scores, "index")["index"].tolist() == list(range(8))
    with pytest.raises(ValueError, match="order"):
        score_table(rollout, scores, "best")
    with pytest.raises(ValueError, match="scores"):
        score_table(rollout, scores[:3])


def test_a_stale_policy_warns():
    agent = PPO("FrozenLake", seed=0, n_steps=128, lr=0.5)
    rollout = agent.collect()
    agent.update(rollout)
    with pytest.warns(UserWarning, match="stale"):
        influence(agent.policy, rollout)


def test_bad_input_says_what_was_expected():
    policy, rollout = pair(8)
    for name, value in (("method", "magic"), ("score_loss", "half"), ("normalize", "epoch")):
        with pytest.raises(ValueError, match=f"{name}: '{value}', expected one of"):
            influence(policy, rollout, **{name: value})
    with pytest.raises(ValueError, match="finite scalar"):
        influence(policy, rollout, lambda p, r: p.log_prob(r.obs, r.action))
    with pytest.raises(ValueError, match="does not depend"):
        influence(policy, rollout, lambda p, r: torch.tensor(1.0))
    with pytest.raises(ValueError, match="another policy"):
        influence(pair(3, dim=4)[0], rollout)
    with pytest.raises(ValueError, match="another policy"):
        influence(pair(3, kind="box", dim=3)[0], rollout)
    with pytest.raises(ValueError, match="log_prob"):
        influence(nn.Linear(5, 3), rollout)
    with pytest.raises(ValueError, match="advantage"):
        influence(policy, replace(rollout, advantage=rollout.advantage[:5]))
    broken = rollout.advantage.clone()
    broken[2] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        influence(policy, replace(rollout, advantage=broken), Action(rollout.obs[0], 1))


def test_ghost_refuses_layers_it_does_not_know():
    class Normed(Biasless):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(5, dtype=torch.float64)

        def log_prob(self, obs, action):
            return super().log_prob(self.norm(obs), action)

    policy = Normed()
    rollout = make_rollout(policy, 6, (5,), "discrete", 3)
    with pytest.raises(ValueError, match=r"'norm' is a LayerNorm.*jvp"):
        influence(policy, rollout, method="ghost")
    loop = influence(policy, rollout, method="loop")
    assert relative_gap(influence(policy, rollout), loop) < 1e-10


def test_ghost_refuses_a_layer_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(5, 5, dtype=torch.float64)

        def log_prob(self, obs, action):
            out = self.net(self.net(obs).tanh())
            return out.log_softmax(-1).gather(-1, action[:, None]).squeeze(-1)

    policy = Twice()
    rollout = make_rollout(policy, 6, (5,), "discrete", 3)
    with pytest.raises(ValueError, match="used twice"):
        influence(policy, rollout, method="ghost")


def test_ghost_reads_what_a_layer_was_given_before_it_is_overwritten():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.ReLU(inplace=True)
    )
    policy = Scorable(
        nn.Sequential(*net, nn.Linear(8, 3)).double(),
        lambda m, obs, a: m(obs).log_softmax(-1).gather(-1, a[:, None]).squeeze(-1),
    )
    rollout = make_rollout(policy, 12, (5,), "discrete", 3)
    ghost = influence(policy, rollout, method="ghost")
    assert relative_gap(ghost, influence(policy, rollout)) < 1e-10


def test_ghost_refuses_other_paddings_and_shared_parameters():
    conv = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
    policy = Scorable(
        nn.Sequential(conv, nn.Flatten(), nn.Linear(32, 3)).double(),
        lambda m, obs, a: m(obs).log_softmax(-1).gather(-1, a[:, None]).squeeze(-1),
    )
    rollout = make_rollout(policy, 6, (1, 4, 4), "discrete", 3)
    with pytest.raises(ValueError, match=r"pads with 'circular'.*jvp"):
        influence(policy, rollout, method="ghost")

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = (nn.Linear(3, 3, bias=False).double() for _ in range(2))
            self.two.weight = self.one.weight

        def log_prob(self, obs, action):
            out = self.two(self.one(obs).tanh())
            return out.log_softmax(-1).gather(-1, action[:, None]).squeeze(-1)

    tied = Tied()
    with pytest.raises(ValueError, match="two layers share a parameter; use method='jvp'"):
        influence(tied, make_rollout(tied, 6, (3,), "discrete", 3), method="ghost")


class Shared(torch.nn.Module):
    """One layer under two names, and one parameter in two layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one = torch.nn.Linear(3, 3).double()
        self.same = self.one
        self.tied = torch.nn.Linear(3, 3, bias=False).double()
        self.tied.weight = self.one.weight

    def log_prob(self, obs, action):
        logits = self.tied(self.same(self.one(obs).tanh()).tanh())
        return logits.log_softmax(-1).gather(-1, action[:, None]).squeeze(-1)


@pytest.mark.parametrize("method", ["jvp", "vmap", "loop"])
def test_shared_parameters_count_everywhere_and_stay_in_place(method):
    """Scores against plain autograd on the module, whose parameters are its own ever after."""
    policy = Shared()
    weight, bias = policy.one.weight, policy.one.bias
    rollout = make_rollout(policy, 6, (3,), "discrete", 3)
    scores = influence(policy, rollout, method=method, normalize="none")
    assert policy.one.weight is weight and policy.tied.weight is weight
    assert policy.one.bias is bias and len(list(policy.parameters())) == 2
    log_prob = policy.log_prob(rollout.obs, rollout.action)
    v = torch.autograd.grad(
        (log_prob * rollout.advantage).mean(), [weight, bias], retain_graph=True
    )
    for i in range(6):
        g = torch.autograd.grad(log_prob[i], [weight, bias], retain_graph=True)
        expected = rollout.advantage[i] * sum((x * y).sum() for x, y in zip(g, v, strict=True))
        assert float(scores[i]) == pytest.approx(float(expected), rel=1e-10)


def traced(**settings):
    agent = PPO(
        "FrozenLake", seed=0, n_steps=128, batch_size=32, epochs=2, compile=False, **settings
    )
    rollout = agent.collect()
    return agent, rollout, agent.update(rollout, trace=True)


def test_a_trace_brings_its_own_loss():
    agent, rollout, trace = traced(clip=0.02, lr=0.5)
    own = influence(agent.policy, rollout, trace=trace)
    assert torch.equal(own, influence(agent.policy, rollout, trace=trace, clip=0.02))
    assert not torch.equal(own, influence(agent.policy, rollout, trace=trace, clip=0.2))


def test_a_trace_of_other_records_is_noticed():
    agent, rollout, trace = traced(lr=0.5)
    with pytest.raises(ValueError, match=r"trace: of an update on 128 records, .* 64"):
        influence(agent.policy, rollout[:64], trace=trace)
    with pytest.raises(ValueError, match="trace: of an update on other advantages"):
        influence(agent.policy, agent.collect(), trace=trace)
    with pytest.warns(UserWarning, match="stale"):
        influence(agent.policy, replace(rollout, logp=rollout.logp - 1), trace=trace)
    critic = traced(critic="all")
    with pytest.raises(ValueError, match="critic='all'"):
        influence(critic[0].policy, critic[1], trace=critic[2], score_loss="full")


def test_parameters_that_do_not_learn_have_no_say():
    policy, rollout = pair(12)
    free = influence(policy, rollout)
    first = policy.pi[0]
    first.weight.requires_grad_(False)
    parts = [influence(policy, rollout, method=m) for m in ("jvp", "ghost", "vmap", "loop")]
    assert all(relative_gap(parts[0], x) < 1e-6 for x in parts[1:])
    assert relative_gap(free, parts[0]) > 1e-3
    for p in policy.parameters():
        p.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        influence(policy, rollout)


def test_history_of_a_paced_run_knows_each_rounds_rate():
    agent = PPO("FrozenLake", seed=0, n_steps=128, batch_size=32, compile=False, desired_kl=0.05)
    rounds = []
    for _ in range(3):
        rollout = agent.collect()
        rounds.append((rollout, agent.update(rollout, trace=True)))
    table = influence_history(agent.policy, rounds, Action(0, 1))
    rates = table.groupby("round").lr.first()
    assert rates.tolist() == [trace.config.lr for _, trace in rounds] and rates.nunique() == 3


def test_an_action_that_the_task_does_not_have_is_named():
    agent = PPO("Acrobot", seed=0, n_steps=64, batch_size=32, compile=False)
    rollout = agent.collect()
    with pytest.raises(ValueError, match="action: 7, expected one below 3"):
        influence(agent.policy, rollout, Action(rollout.obs[0], 7))
    with pytest.raises(ValueError, match=r"obs: index 3, expected an observation \(6,\)"):
        influence(agent.policy, rollout, Action(3, 1))
    lake = PPO("FrozenLake", seed=0, n_steps=64, batch_size=32, compile=False)
    records = lake.collect()
    by_numpy = influence(lake.policy, records, Action(np.int64(0), np.int64(1)))
    assert torch.equal(by_numpy, influence(lake.policy, records, Action(0, 1)))
    for name, value in {"batch_size": 0, "rng": 0}.items():
        with pytest.raises(ValueError, match=f"{name}: 0, expected"):
            influence(lake.policy, records, **{name: value})
