"""A policy for CartPole: trained here, made int8 by a recipe, and judged by what the artifact itself earns.

    python examples/cartpole.py train FOLDER            # rows.npz; then, in FOLDER:
    edgepress run examples/cartpole.yaml
    python examples/cartpole.py play FOLDER/runs/cartpole/release/onnxruntime-cpu

The teacher is a linear rule found by the cross-entropy method (Rubinstein and Kroese 2004), whose noisy play gives the
rows: an observation of four numbers, and the rule's action. The recipe's teacher is a network fitted to these; its
student learns the teacher's distribution over the actions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

ENVIRONMENT = "CartPole-v1"
Policy = Callable[[np.ndarray], int]
"""An observation float32 `[4]` → 0 (left) or 1 (right)."""


def returns(policy: Policy, seeds: range, noise: float = 0.0) -> tuple[list[float], list[np.ndarray]]:
    """The return of one episode a seed, and all that was observed.

    Args:
        policy: what acts.
        seeds: of the environment; the same ones give the same figure.
        noise: share of actions that are drawn by chance, so that rows show more than success.
    """
    import gymnasium

    environment, chance = gymnasium.make(ENVIRONMENT), np.random.default_rng(seeds.start)
    totals, seen = [], []
    for seed in seeds:
        observation, _ = environment.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            seen.append(np.asarray(observation, np.float32))
            action = int(chance.integers(2)) if chance.random() < noise else policy(seen[-1])
            observation, reward, ended, cut, _ = environment.step(action)
            total, over = total + float(reward), ended or cut
        totals.append(total)
    return totals, seen


def linear(weights: np.ndarray) -> Policy:
    """Right where the weighted sum of the observation is above 0."""
    return lambda observation: int(observation @ weights > 0)


def cross_entropy_method(rounds: int, population: int = 24, best: int = 6, seed: int = 0) -> np.ndarray:
    """Weights `[4]` of a linear rule: drawn, played, drawn again about the best.

    Args:
        rounds: how often.
        population: rules of a round.
        best: of them, the next round's mean and deviation are taken.
        seed: of the draws and the environment.
    """
    random, mean, deviation = np.random.default_rng(seed), np.zeros(4), np.ones(4)
    for step in range(rounds):
        drawn = random.normal(mean, deviation, (population, 4))
        earned = [np.mean(returns(linear(rule), range(100 * step, 100 * step + 3))[0]) for rule in drawn]
        chosen = drawn[np.argsort(earned)[-best:]]
        mean, deviation = chosen.mean(0), chosen.std(0) + 0.1 / (step + 1)
    return np.asarray(mean)


def write_rows(weights: np.ndarray, folder: Path, episodes: int) -> int:
    """`rows.npz`: x_train observations `[rows, 4]`, y_train the rule's actions; returns the rows.

    Args:
        weights: of the rule.
        folder: where to.
        episodes: with a third of the actions by chance; a quarter more are the test split.
    """
    policy, arrays = linear(weights), {}
    for split, seeds in (("train", range(10_000, 10_000 + episodes)), ("test", range(20_000, 20_000 + episodes // 4))):
        seen = np.stack(returns(policy, seeds, noise=0.33)[1])
        arrays |= {f"x_{split}": seen, f"y_{split}": np.array([policy(row) for row in seen], np.int64)}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "rows.npz", **arrays)
    return len(arrays["x_train"])


def of_artifact(folder: Path) -> Policy:
    """The policy of a released artifact, by its target's runtime alone."""
    from edgepress import targets
    from edgepress.targets.records import Artifact

    artifact = Artifact.read(folder / Artifact.FILE_NAME)
    said = json.loads((folder / "standardisation.json").read_text())
    mean, std = np.array(said["mean"], np.float32), np.array(said["std"], np.float32)
    session = targets.of(artifact).open(artifact, folder).__enter__()  # for as long as the process lives
    return lambda observation: int(session.infer({"features": ((observation - mean) / std)[None]})["logits"].argmax())


def mean_return(policy: Policy, episodes: int) -> tuple[float, float, float]:
    """Mean return over fixed seeds, and its 95 % interval: bootstrap over the episodes.

    Args:
        policy: what acts.
        episodes: how many.
    """
    earned = np.array(returns(policy, range(episodes))[0])
    drawn = np.random.default_rng(0).integers(len(earned), size=(2000, len(earned)))
    low, high = np.percentile(earned[drawn].mean(1), [2.5, 97.5])
    return float(earned.mean()), float(low), float(high)


def main(command: str, *places: str) -> None:
    """`train FOLDER`, or `play ARTIFACT`."""
    if command == "train":
        weights = cross_entropy_method(rounds=8)
        rows = write_rows(weights, Path(places[0]), episodes=120)
        print(f"rule {np.round(weights, 3).tolist()}, {rows} rows")
        policy = linear(weights)
    else:
        policy = of_artifact(Path(places[0]))
    print("mean return {:.1f} [{:.1f}, {:.1f}] over 100 seeds".format(*mean_return(policy, 100)))


if __name__ == "__main__":
    main(*sys.argv[1:])
