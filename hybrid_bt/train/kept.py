"""An agent that has learned, and how it is had again. A folder holds

    seed0.zip               Stable-Baselines3's own file, one a seed
    seed0.vecnormalize.pkl  the moments that it learned under
    manifest.json           environment, algorithm, settings, span, markets, SHA-256 of the files

which appear together or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from hybrid_bt import __version__
from hybrid_bt.config import load_config
from hybrid_bt.envs import SPECS, Task, declared
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError, PolicyError, os_errors
from hybrid_bt.files import whole_folder
from hybrid_bt.files.texts import json_object, plain
from hybrid_bt.train.agents import Ensemble
from hybrid_bt.train.pipeline import Lesson, taught
from hybrid_bt.train.spec import AgentSpec, algorithm
from hybrid_bt.train.validation import Model

FORMAT, MANIFEST = 1, "manifest.json"
LIBRARIES = ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "numpy")


def learn_agent(lesson: Lesson, out: Path, **results: object) -> dict[str, Any]:
    """Train one model per seed on the training span, and keep them in a folder; its manifest, with `results` in it."""
    spec = dealing(lesson)
    trained, fields = taught("agent", lesson._replace(agent=spec))
    whole = len(lesson.markets) == 1 and not spec.n_assets
    tables = {name: spec.terms[name]._asdict() for name in Task._fields if hasattr(spec.terms.get(name), "_asdict")}
    terms = {**spec.terms, **tables}
    own = [name for name, value in terms.items() if not isinstance(value, Mapping | str | float | int)]
    del fields["reward"]  # which is the spec
    said = {
        **spec._replace(terms={}, settings={})._asdict(),
        **fields,
        "own_terms": own,  # which no file holds
        "pairs": lesson.market.pairs if whole else (),
        "in_order": whole and SPECS[spec.env].per_asset,  # else it knows no names
        "costs": declared(spec.env, load_config(spec.mode), spec.terms)[1].costs._asdict(),
        "results": {**fields["results"], **results},
    }
    given = {"terms": {name: value for name, value in terms.items() if name not in own}, "settings": spec.settings}
    return write_agent(out, [one.model for one in trained], {**plain(said), **given})


def dealing(lesson: Lesson) -> AgentSpec:
    """The spec, with as many symbols of a portfolio as the smallest of several markets has.

    Raises
    ------
    ConfigError
        For more symbols, numbers out of range, or checkpoints of ars.
    """
    spec = validated(AgentSpec, lesson.agent, "training of an agent")
    if spec.algo == "ars" and lesson.practice.checkpoint_dir:
        raise ConfigError("ars is never between two rollouts, where checkpoints are kept; drop --checkpoint-dir")
    most = min(market.bars.n_symbols for market in lesson.markets) if SPECS[spec.env].per_asset else 0
    if spec.n_assets > most:
        rule = f"a market has {most} symbols; give {most} or fewer" if most else "it is of Portfolio-v0; leave it out"
        raise ConfigError(f"[env] n_assets = {spec.n_assets}: {rule}")
    return spec if spec.n_assets or len(lesson.markets) == 1 else spec._replace(n_assets=most)


def write_agent(folder: Path, models: Sequence[Model], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keep models, one a seed, and what is said of them; the manifest."""
    files: dict[str, bytes] = {}
    for model, seed in zip(models, fields["seeds"], strict=True):
        memory, scaling = io.BytesIO(), model.get_vec_normalize_env()
        model.save(memory)
        files[f"seed{seed}.zip"] = memory.getvalue()
        if scaling is not None:
            files[f"seed{seed}.vecnormalize.pkl"] = pickle.dumps(scaling)
    said = {
        "format": FORMAT,
        **fields,
        "steps": [model.num_timesteps for model in models],
        "versions": {"hybrid_bt": __version__, **{name: metadata.version(name) for name in LIBRARIES}},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files[MANIFEST] = (json.dumps(said, indent=1, default=str) + "\n").encode()
    earlier = (json_object((folder / MANIFEST).read_bytes()) or {}) if (folder / MANIFEST).exists() else {}
    with whole_folder(folder, (*earlier.get("files", ()), MANIFEST)) as fresh:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
    return said


def load_agent(folder: str | Path, **own: object) -> dict[str, Any]:
    """What `hybrid-bt train --env` wrote, as parameters of `AgentStrategy`.

    >>> cerebro.addstrategy(AgentStrategy, **load_agent("agent"))

    Stable-Baselines3's files are pickles, which run code: load your own alone. `trained_until` is the last day that the
    agent learned from or was validated on; `symbols` are those of its training, where it knows them.

    Parameters
    ----------
    **own
        Terms of its environment that no file holds, such as a function.

    Raises
    ------
    PolicyError
        If a file is missing, or another than was written, or an own term is.
    """
    folder = Path(folder)
    with os_errors(PolicyError, f"agent: cannot read {folder}", "name a folder that `hybrid-bt train --env` wrote"):
        said = json_object((folder / MANIFEST).read_bytes())
        if said is None or said.get("format") != FORMAT:
            raise PolicyError(f"agent: {folder / MANIFEST} is damaged or of another version; train it again")
        files = {name: (folder / name).read_bytes() for name in said["files"]}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != said["files"][name]:
            raise PolicyError(f"agent: {folder / name} is damaged or another file; train it again")
    for name in {*own} ^ {*said["own_terms"]}:
        raise PolicyError(f"agent: {folder} learned with {said['own_terms']} of your own, not {name}; give it by name")
    members = []
    for seed in said["seeds"]:
        scaling = files.get(f"seed{seed}.vecnormalize.pkl")
        model = algorithm(said["algo"]).load(io.BytesIO(files[f"seed{seed}.zip"]), device="cpu")
        members.append((model, None if scaling is None else pickle.loads(scaling)))
    spec = AgentSpec(said["env"], said["algo"], said["mode"], terms={**said["terms"], **own})
    task = declared(spec.env, load_config(spec.mode), spec.terms)[1]
    days = [date.fromisoformat(said[name]) for name in ("train_end", "valid_end") if said[name]]
    return {
        "agent": Ensemble(members),
        "env": spec.env,
        "mode": spec.mode,
        "pairs": tuple(said["pairs"]),
        "terms": {name: getattr(task, name, value) for name, value in spec.terms.items()},
        "symbols": said["symbols"] if said["in_order"] else None,
        "trained_until": max(days),
    }
