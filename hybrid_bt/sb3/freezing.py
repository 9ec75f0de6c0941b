"""From a saved SB3 model to a frozen policy, in a process of its own.

    python -c "from hybrid_bt.sb3.freezing import main; main()"  < request as JSON  > answer as JSON

The model may read the columns that the running code makes in any order, and need not read all: the weights of the
first layer are put in the code's order, and columns that the model does not know get the weight 0.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hybrid_bt import __version__, regime
from hybrid_bt.errors import HybridError, PolicyError, did_you_mean
from hybrid_bt.freeze import dense_layers, lstm_layers, write
from hybrid_bt.legs import sac as sac_leg
from hybrid_bt.manifest import Manifest, Recurrent, Scaling
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.policy_graph import Dense, Lstm, graph_lstm, graph_mlp
from hybrid_bt.sb3.archive import Archive, Statistics, read_archive, read_statistics
from hybrid_bt.sb3.networks import ATTRIBUTES, Network, Spaces, network, spaces_of

OBSERVATIONS = {"sac": sac_leg.OBSERVATION, "gate": regime.OBSERVATION}  #: what the running code makes
MEANINGS = {"sac": "exposure to one asset in units of risk", "gate": "regime score r: -1 mean reversion, +1 trend"}
TOLERANCE = 1e-5  #: largest allowed difference to SB3's predict, in units of the action box where that is wider than 1
UNBOUNDED = float(np.finfo(np.float32).max)
FloatArray = NDArray[np.float64]


def columns_of(kind: str, names: list[str]) -> list[int]:
    """Where the model's columns stand among those that the running code makes.

    Raises
    ------
    PolicyError
        If a name is unknown, or comes twice.
    """
    made = OBSERVATIONS[kind]
    for column, name in enumerate(names):
        if name not in made:
            raise PolicyError(
                f"import: observation {name!r} (column {column}) is not made for a {kind}{did_you_mean(name, made)}"
            )
        if name in names[:column]:
            raise PolicyError(f"import: observation {name!r} comes twice (column {column}); name each column once")
    return [made.index(name) for name in names]


def freeze_archive(request: dict[str, Any]) -> FrozenPolicy:
    """Carry out a request; see `hybrid_bt.sb3.command` for its fields.

    Raises
    ------
    PolicyError
        If the model cannot be read or frozen. Nothing is written then.
    """
    kind, columns = request["kind"], columns_of(request["kind"], request["observation"])
    archive = read_archive(Path(request["model"]), ATTRIBUTES)
    spaces = spaces_of(archive.data)
    if spaces.features != len(columns):
        raise PolicyError(
            f"import: {len(columns)} observation names for a model that reads {spaces.features} numbers; "
            "name its columns, in its order"
        )
    found = network(archive, spaces)
    if found.trunk is not None and kind == "sac":
        raise PolicyError(
            "import: a RecurrentPPO remembers one series, and the sac leg asks about many assets at once; "
            "import it with --kind gate"
        )
    statistics = read_statistics(Path(request["vecnormalize"])) if request["vecnormalize"] else None
    if statistics is not None and len(statistics.mean) != spaces.features:
        raise PolicyError(
            f"import: the VecNormalize scales {len(statistics.mean)} numbers, the model reads {spaces.features}; "
            "give the statistics that were saved with this model"
        )
    sealed = _manifest(request, archive, spaces, found, statistics, columns)
    graph = _graph(found, spaces, columns, len(sealed.observation), sealed.scaling)
    tolerance = TOLERANCE * max(1.0, spaces.high - spaces.low)
    return write(graph, sealed, Path(request["out"]), _reference(found, columns, statistics), tolerance)


def _graph(found: Network, spaces: Spaces, columns: list[int], width: int, scaling: Scaling | None) -> bytes:
    layers: list[Dense] = [layer for module in found.layers for layer in dense_layers(module)]
    box = {"low": spaces.low, "high": spaces.high}
    if found.trunk is None:
        first = layers[0]._replace(weight=_widened(layers[0].weight, columns, width))
        head = "squash" if found.algorithm in ("SAC", "TD3") else "clip"
        return graph_mlp([[first, *layers[1:]]], **box, head=head, scaling=scaling)  # type: ignore[arg-type]
    lstms: list[Lstm] = lstm_layers(found.trunk)
    lstms[0] = lstms[0]._replace(weight_x=_widened(lstms[0].weight_x, columns, width))
    return graph_lstm([lstms], [layers], **box, head="clip", scaling=scaling)


def _widened(weight: FloatArray, columns: list[int], width: int) -> FloatArray:
    """(in, out) weights -> (width, out), zero for columns that the model does not read."""
    spread = np.zeros((width, weight.shape[1]))
    spread[columns] = weight
    return spread


def _scaling(statistics: Statistics | None, columns: list[int], width: int) -> Scaling | None:
    if statistics is None:
        return None
    mean, std = np.zeros(width), np.ones(width)
    mean[columns], std[columns] = statistics.mean, np.sqrt(statistics.var + statistics.epsilon)
    return Scaling(mean=tuple(mean.tolist()), std=tuple(std.tolist()), clip=statistics.clip)


def _manifest(
    request: dict[str, Any],
    archive: Archive,
    spaces: Spaces,
    found: Network,
    statistics: Statistics | None,
    columns: list[int],
) -> Manifest:
    observation = OBSERVATIONS[request["kind"]]
    data = archive.data
    hidden = Recurrent(n_lstm=found.trunk.num_layers, hidden=found.trunk.hidden_size) if found.trunk else None
    origin = {
        "imported_from": found.algorithm,
        "zip_sha256": archive.sha256,
        "vecnormalize_sha256": statistics.sha256 if statistics else None,
        "observation_read": [observation[column] for column in columns],
    }
    clip = request["observation_clip"] or (spaces.bound if 0.0 < spaces.bound < UNBOUNDED else UNBOUNDED)
    stated = {
        "data_sha256": None,
        "action_meaning": MEANINGS[request["kind"]],
        "seeds": [data.get("seed")],
        "gamma": data.get("gamma"),
    }
    stated |= {key: value for key, value in request["manifest"].items() if value is not None}
    fields = {
        "format_version": 2,
        "kind": request["kind"],
        "observation": observation,
        "observation_clip": float(np.float32(min(clip, UNBOUNDED))),
        "action_low": spaces.low,
        "action_high": spaces.high,
        "recurrent": hidden,
        "members": 1,
        "steps": data.get("num_timesteps"),
        "versions": {"stable-baselines3": archive.version, "hybrid_bt": __version__, "onnx": metadata.version("onnx")},
        "results": origin,
        "scaling": _scaling(statistics, columns, len(observation)),
    }
    try:
        return Manifest.model_validate(fields | stated)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise PolicyError(f"import: manifest field {where}: {first['msg']}; state it, or correct it") from error


def _reference(found: Network, columns: list[int], statistics: Statistics | None) -> Any:
    """What SB3 answers: VecNormalize's arithmetic, then policy.predict, the state carried."""

    def predict(x: NDArray[np.float32]) -> FloatArray:
        seen: NDArray[Any] = x[:, columns]
        if statistics is not None:
            scaled = (seen - statistics.mean) / np.sqrt(statistics.var + statistics.epsilon)
            seen = np.clip(scaled, -statistics.clip, statistics.clip).astype(np.float32)
        if found.trunk is None:
            answer: FloatArray = found.predict(seen, deterministic=True)[0][:, 0].astype(np.float64)
            return answer
        actions, state = np.empty(len(seen)), None
        for t, row in enumerate(seen):
            start = np.array([t == 0])
            action, state = found.predict(row, state=state, episode_start=start, deterministic=True)
            actions[t] = action[0]
        return actions

    return predict


def main() -> None:
    """Answer the request on stdin; a user's mistake is an answer too."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints goes to stderr
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)
    try:
        policy = freeze_archive(request)
    except HybridError as error:
        answer: dict[str, Any] = {"error": str(error)}
    else:
        answer = {"sha256": policy.sha256}
    json.dump(answer, answers)
    answers.close()
