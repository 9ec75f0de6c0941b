"""From a model that SB3 saved to a frozen policy, or to an object that runs where it is trusted.

Either way its answer is that of `model.predict(deterministic=True)`.

The model may read the columns that the running code makes in any order, and need not read all: the weights of the
first layer are put in the code's order, and columns that the model does not know get the weight 0. A portfolio reads
all that its environment shows.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt import __version__
from hybrid_bt.equations.features import OBSERVATIONS
from hybrid_bt.errors import Hint, PolicyError, did_you_mean
from hybrid_bt.policies.actors import SbPolicy, actor_of
from hybrid_bt.policies.file import read_bytes
from hybrid_bt.policies.freeze import answers, read_off, write
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.graph import Actor, FloatArray
from hybrid_bt.policies.manifest import Manifest, Scaling, portfolio_names
from hybrid_bt.policies.sb3_archive import MAX_ZIP, Archive, archive_of, read_statistics
from hybrid_bt.policies.sb3_policy import TrustedPolicy, keep, loaded, rebuilt

TOLERANCE = 1e-5  #: largest allowed difference to SB3's predict, in units of the action box where that is wider than 1
UNBOUNDED = float(np.finfo(np.float32).max)
#: what a policy is -> what its actions mean
MEANINGS = {
    "sac": "exposure to one asset in units of risk",
    "gate": "regime score r: -1 mean reversion, +1 trend",
    "portfolio": "of each asset a signed fraction of equity, before limits",
}


def import_model(
    model: Path,
    names: Sequence[str] | None,
    out: Path,
    stated: Mapping[str, Any],
    *,
    vecnormalize: Path | None = None,
    unscaled: bool = False,
    trust: bool = False,
) -> FrozenPolicy | TrustedPolicy:
    """Freeze a model.

    Parameters
    ----------
    names : sequence of str, optional
        What the model reads, in its order; by default all that its environment shows.
    out : Path
        A frozen policy; with the suffix .zip, an object.
    stated : mapping
        Fields of the manifest that the zip does not say. The `kind` is by default that of the environment which shows
        and asks as many numbers as the model reads and answers. Without `observation_clip` observations are not
        clipped: nor does SB3 clip them to the Box of the model.
    vecnormalize : Path, optional
        What `VecNormalize.save` wrote.
    unscaled : bool
        No VecNormalize scaled observations: there was none, or it had `norm_obs=False`.
    trust : bool
        Let SB3 load the zip, which runs what is in it.

    Raises
    ------
    PolicyError
        If the model cannot be read or frozen. Nothing is written then.
    """
    as_object = out.suffix == ".zip"
    if as_object and not trust:
        raise PolicyError(f"import: {out} would be an object, which SB3 loads and runs; give --trust, or an .onnx")
    archive = archive_of(read_bytes(model, MAX_ZIP, "a model that SB3 saved"), model.name)
    policy = loaded(archive).policy if trust else rebuilt(archive)
    scaling = read_statistics(vecnormalize) if vecnormalize else None
    if vecnormalize is None and not unscaled:
        _check_unscaled(archive)
    actors = [] if as_object else [_actor(policy, trust)]
    said = _said(archive, vecnormalize if scaling else None)
    fields = {**said, **read_off(policy, actors), "scaling": scaling, **stated}
    fields["kind"] = kind = stated["kind"] if "kind" in stated else _kind(policy, stated.get("symbols", ()))
    made = columns_of(kind, stated.get("symbols", ()))
    fields["observation"] = names = tuple(names or made)
    _check_names(kind, names, made)
    _check_fit(kind, len(names), policy, scaling)
    fields["observation_clip"] = float(np.float32(min(stated.get("observation_clip", UNBOUNDED), UNBOUNDED)))
    fields.setdefault("action_meaning", MEANINGS[kind])
    manifest = Manifest.checked(fields, "import: manifest field", "state it, or correct it")
    if as_object:
        return keep(archive, manifest, out)
    tolerance = TOLERANCE * max(1.0, manifest.action_high - manifest.action_low)

    def predict(x: NDArray[np.float32]) -> FloatArray:
        return answers([policy], x if scaling is None else scaling.scaled(x))

    return write(actors, manifest, out, predict, tolerance)


def columns_of(kind: str, symbols: Sequence[str]) -> tuple[str, ...]:
    """What an environment shows: of a portfolio each symbol's features, the market's, and the weights held."""
    return portfolio_names(symbols) if kind == "portfolio" else OBSERVATIONS[kind]


def _kind(policy: SbPolicy, symbols: Sequence[str]) -> str:
    """That of the environment which shows and asks as many numbers."""
    (read,), (n_actions,) = policy.observation_space.shape, policy.action_space.shape
    shapes = {kind: (len(columns_of(kind, symbols)), len(symbols) if kind == "portfolio" else 1) for kind in MEANINGS}
    for kind, shape in shapes.items():
        if shape == (read, n_actions):
            return kind
    known = ", ".join(f"{kind} {shape[0]} and {shape[1]}" for kind, shape in shapes.items())
    raise PolicyError(
        f"import: the model reads {read} numbers and answers {n_actions}, as no environment for {len(symbols)} "
        f"symbol(s) does ({known}); give --kind and --observation, or --symbols as in its training"
    )


def _actor(policy: SbPolicy, trust: bool) -> Actor:
    try:
        return actor_of(policy)
    except PolicyError as error:
        raise PolicyError(f"{error}{'; or keep it as an object, --out NAME.zip' if trust else ''}") from error


def _check_names(kind: str, names: Sequence[str], made: Sequence[str]) -> None:
    """Refuse columns that the running code does not make."""
    for column, name in enumerate(names):
        if name not in made:
            why = f"(column {column}) is not made for a {kind}{did_you_mean(name, made)}"
            raise PolicyError(f"import: observation {name!r} {why}")
        if name in names[:column]:
            raise PolicyError(f"import: observation {name!r} comes twice (column {column}); name each column once")
    if kind == "portfolio" and tuple(names) != tuple(made):
        raise PolicyError("import: a portfolio reads all that its environment shows, in order; leave out --observation")


def _check_unscaled(archive: Archive) -> None:
    """Refuse a model whose inputs VecNormalize may have scaled; a hint where the zip does not say."""
    ask = "give what its save() wrote as --vecnormalize, or --unscaled if it left observations alone (norm_obs=False)"
    if archive.normalised:
        raise PolicyError(f"import: the model learned under VecNormalize; {ask}")
    if archive.normalised is None:
        said = f"import: a zip of {archive.algorithm} does not say whether it learned under VecNormalize; if so, {ask}"
        warnings.warn(said, Hint, stacklevel=3)


def _check_fit(kind: str, named: int, policy: SbPolicy, scaling: Scaling | None) -> None:
    """Refuse a model that does not fit its names, its statistics or its kind."""
    read = policy.observation_space.shape[0]
    if read != named:
        rule = f"{named} observation names for a model that reads {read} numbers"
        raise PolicyError(f"import: {rule}; name its columns, in its order")
    if hasattr(policy, "lstm_actor") and kind == "sac":
        rule = "a RecurrentPPO remembers one series, and the sac leg asks about many assets at once"
        remedy = "trade the model as AgentStrategy(env='Asset'), or, if it gives r, import it with --kind gate"
        raise PolicyError(f"import: {rule}; {remedy}")
    if scaling is not None and len(scaling.mean) != read:
        rule = f"the VecNormalize scales {len(scaling.mean)} numbers, the model reads {read}"
        raise PolicyError(f"import: {rule}; give the statistics that were saved with this model")


def _said(archive: Archive, vecnormalize: Path | None) -> dict[str, Any]:
    """What the files say about the training."""
    return {
        "gradient_steps": archive.learned,
        "data_sha256": None,
        "seeds": [archive.data.get("seed")],
        "gamma": archive.data.get("gamma", 1.0),  # ARS adds up whole episodes
        "steps": archive.data.get("num_timesteps"),
        "versions": {"stable-baselines3": archive.version, "hybrid_bt": __version__, "onnx": metadata.version("onnx")},
        "results": {
            "imported_from": archive.algorithm,
            "zip_sha256": hashlib.sha256(archive.raw).hexdigest(),
            "vecnormalize_sha256": hashlib.sha256(vecnormalize.read_bytes()).hexdigest() if vecnormalize else None,
        },
    }
