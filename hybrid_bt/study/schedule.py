"""Where jobs run: this process, this machine's cores, or a user's cluster; and the results that are kept on disk.

joblib (https://joblib.readthedocs.io), Dask (https://distributed.dask.org) and Ray (https://docs.ray.io) get the same
picklable jobs and give the same arrays, so a study does not depend on where it ran. A result is written when it comes
in, whole or not at all; a study that is started again finds it by its key.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.errors import ConfigError
from hybrid_bt.files import write_whole
from hybrid_bt.study.jobs import Result, TradeJob, VoiceJob, run_job

__all__ = ["BACKENDS", "Store", "execute"]

Job = VoiceJob | TradeJob


class Store:
    """Results by key, one `.npz` each without pickle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"study: cannot write to {folder}: {error.strerror or error}; give another --out"
            ) from None

    def get(self, key: str) -> Result | None:
        """A result of an earlier study; None if there is none, or if it is damaged."""
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as file:
                return Result(key, {name: file[name] for name in file.files})
        except (FileNotFoundError, ValueError, OSError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, result: Result) -> None:
        """Keep a result; a failure is not kept, so that the next study tries again."""
        if result.failure:
            return
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **result.arrays)
        write_whole(self._folder / f"{result.key}.npz", packed.getvalue())


def execute(
    jobs: Sequence[Job],
    store: Store,
    *,
    backend: str = "joblib",
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Results of all jobs in their order, from the store where they are there already.

    Raises
    ------
    ConfigError
        If the backend's library is missing.
    """
    found = {job.key: store.get(job.key) for job in jobs}
    todo = {job.key: job for job in jobs if found[job.key] is None}
    done = len(jobs) - len(todo)
    if progress is not None:
        progress(done, len(jobs))
    for fresh in BACKENDS[backend](list(todo.values()), n_jobs) if todo else ():
        store.put(fresh)
        found[fresh.key] = fresh
        done += 1
        if progress is not None:
            progress(done, len(jobs))
    return [result for job in jobs if (result := found[job.key]) is not None]


def _joblib(jobs: list[Job], n_jobs: int) -> Iterator[Result]:
    if n_jobs == 1 or len(jobs) == 1:
        return map(run_job, jobs)
    joblib = _library("joblib", "study")
    pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    results: Iterator[Result] = pool(joblib.delayed(run_job)(job) for job in jobs)
    return results


def _dask(jobs: list[Job], n_jobs: int) -> Iterator[Result]:
    """On the cluster whose scheduler DASK_SCHEDULER_ADDRESS names, else on one of this machine."""
    distributed = _library("distributed", "dask")
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    where: dict[str, Any] = (
        {"address": address}
        if address
        else {"n_workers": n_jobs, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    )
    with distributed.Client(**where) as client:
        futures = client.map(run_job, jobs, key=[f"hybrid_bt-{job.key}" for job in jobs])
        yield from (future.result() for future in distributed.as_completed(futures))


def _ray(jobs: list[Job], n_jobs: int) -> Iterator[Result]:
    """On the cluster that RAY_ADDRESS names, else on one of this machine."""
    ray = _library("ray", "ray")
    own = not ray.is_initialized()
    if own:
        ray.init(
            address=os.environ.get("RAY_ADDRESS"),
            include_dashboard=False,
            log_to_driver=False,
            **({} if "RAY_ADDRESS" in os.environ else {"num_cpus": n_jobs}),
        )
    try:
        remote = ray.remote(num_cpus=1)(run_job)
        waiting: list[Any] = [remote.remote(job) for job in jobs]
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            yield from ray.get(ready)
    finally:
        if own:
            ray.shutdown()


#: name -> how it runs jobs, in any order
BACKENDS: dict[str, Callable[[list[Job], int], Iterable[Result]]] = {"joblib": _joblib, "dask": _dask, "ray": _ray}


def _library(name: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"study: --backend needs {name}: pip install 'hybrid_bt[{extra}]'") from None
