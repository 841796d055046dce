"""A PPO loop of one's own, and the three lines that filter its records."""

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical

from lda_lib import IIF, OwnAgent, Scorable, as_rollout

ENVS, STEPS, BATCH, GAMMA, LAM = 4, 128, 64, 0.99, 0.95


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
        self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))

    def log_prob(self, obs, action):
        return Categorical(logits=self.actor(obs)).log_prob(action)


def train(rounds=10, drop=0.5, seed=0):
    torch.manual_seed(seed)
    envs = gym.make_vec("CartPole-v1", ENVS, "sync", vector_kwargs={"autoreset_mode": "SameStep"})
    envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    net, (obs, _), history = Net(), envs.reset(seed=seed), []
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    agent = OwnAgent(Scorable(net, Net.log_prob), keep=IIF(drop), seed=seed)  # 1: wrap the policy
    for _ in range(rounds):
        S, A, ended, following = torch.zeros(STEPS + 1, ENVS, 4), [], [], 0
        R, goes_on, adv = torch.zeros(3, STEPS, ENVS)
        with torch.no_grad():
            for t in range(STEPS):
                S[t] = torch.as_tensor(obs)
                A.append(Categorical(logits=net.actor(S[t])).sample())
                obs, reward, end, cut, info = envs.step(A[t].numpy())
                R[t], goes_on[t] = torch.as_tensor(reward), torch.as_tensor(~(end | cut))
                if (late := cut & ~end).any():  # a time limit is no end: what follows still counts
                    last = torch.stack([torch.as_tensor(x) for x in info["final_obs"][late]])
                    R[t, torch.as_tensor(late)] += GAMMA * net.critic(last).squeeze(-1)
                if "episode" in info:
                    ended += info["episode"]["r"][info["_episode"]].tolist()
            S[STEPS], A = torch.as_tensor(obs), torch.stack(A)
            V, logp = net.critic(S).squeeze(-1), net.log_prob(S[:-1], A)
        for t in reversed(range(STEPS)):
            delta = R[t] + GAMMA * goes_on[t] * V[t + 1] - V[t]
            following = adv[t] = delta + GAMMA * LAM * goes_on[t] * following
        s, a, old, A_hat, ret = (x.flatten(0, 1) for x in (S[:-1], A, logp, adv, adv + V[:-1]))
        kept = agent.choose(as_rollout(s, a, old, A_hat)).nonzero()[:, 0]  # 2: score and choose
        for _ in range(4):
            for i in kept[torch.randperm(len(kept))].split(BATCH):  # 3: learn from the kept ones
                A_i = (A_hat[i] - A_hat[i].mean()) / (A_hat[i].std(correction=0) + 1e-8)
                ratio = (net.log_prob(s[i], a[i]) - old[i]).exp()
                loss = -torch.min(ratio * A_i, ratio.clamp(0.8, 1.2) * A_i).mean()
                loss += 0.5 * (net.critic(s[i]).squeeze(-1) - ret[i]).pow(2).mean()
                optimizer.zero_grad(), loss.backward(), optimizer.step()
        history.append(sum(ended) / len(ended) if ended else float("nan"))  # of those that ended
    return net, agent, history
