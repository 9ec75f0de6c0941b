"""Training throughput, CPU time on one thread: what the environment, the actor and the gradient steps take.

    OMP_NUM_THREADS=1 python benchmarks/bench_training.py [--sac-steps 50000] [--ppo-steps 50000]

us20 up to 2009, the settings of the shipped policies. CPU seconds, since wall seconds on a shared machine say more
about the neighbours.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from datetime import date
from typing import Any

from hybrid_bt.config import load_config
from hybrid_bt.feeds import as_market, load_bars
from hybrid_bt.train.models import new_model
from hybrid_bt.train.pipeline import Lesson, grounds_of

START, END = date(1995, 1, 1), date(2009, 12, 31)


class Stopwatch:
    """CPU seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Time every call of a method of one object."""
        call = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[name] += time.process_time() - begun

        setattr(owner, method, timed)


def learn(label: str, model: Any, steps: int, stopwatch: Stopwatch) -> float:
    """Train, print the parts, and return the CPU seconds."""
    model.env.reset()  # compiled code is loaded before the clock starts
    begun = time.process_time()
    model.learn(steps)
    total = time.process_time() - begun
    print(f"{label}: {model.num_timesteps:,} steps, {total:.1f} s CPU, {model.num_timesteps / total:,.0f} steps/s")
    parts = dict(stopwatch.seconds)
    for name, seconds in [*parts.items(), ("the rest", total - sum(parts.values()))]:
        print(f"  {name:<34} {seconds:7.2f} s  {seconds / total:6.1%}")
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sac-steps", type=int, default=100_000)
    parser.add_argument("--ppo-steps", type=int, default=50_000)
    given = parser.parse_args()
    bars, config = load_bars("us20", end=END), load_config("stable")
    lesson = Lesson((as_market(bars),), config, START, END, (0,), given.sac_steps, given.ppo_steps)
    total = _sac(lesson) + _gate(lesson)
    print(f"both: {total:.1f} s CPU")


def _sac(lesson: Lesson) -> float:
    grounds = grounds_of(lesson, "sac")
    new_model("sac", grounds, lesson.sac, steps=6_000, seed=0).learn(6_000)  # warm
    model, stopwatch = new_model("sac", grounds, lesson.sac, steps=lesson.sac_steps, seed=0), Stopwatch()
    stopwatch.watch(model.env.venv, "step_wait", "environment, 16 groups of 16")
    stopwatch.watch(model, "train", "gradient steps")
    stopwatch.watch(model, "_sample_action", "actor and random actions")
    stopwatch.watch(model, "_store_transition", "replay buffer, writing")
    return learn("SAC", model, lesson.sac_steps, stopwatch)


def _gate(lesson: Lesson) -> float:
    model = new_model("gate", grounds_of(lesson, "gate"), lesson.gate, steps=lesson.ppo_steps, seed=0)
    stopwatch = Stopwatch()
    stopwatch.watch(model.env.venv, "step_wait", "environment, 16 windows")
    stopwatch.watch(model, "train", "gradient steps")
    stopwatch.watch(model.policy, "forward", "actor and critic")
    return learn("RecurrentPPO", model, lesson.ppo_steps, stopwatch)


if __name__ == "__main__":
    main()
