"""Where jobs run: this process, this machine's cores, or a user's cluster; and the results that are kept on disk.

joblib (https://joblib.readthedocs.io) hands the same picklable jobs to this machine's cores, to Dask
(https://distributed.dask.org) or to Ray (https://docs.ray.io), so a study does not depend on where it ran. A result is
written when it comes in, whole or not at all; a study that is started again finds it by its key.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.errors import ConfigError
from hybrid_bt.files import write_whole
from hybrid_bt.evidence.study.jobs import Result, TradeJob, VoiceJob, run_job

Job = VoiceJob | TradeJob
ROUND = 4  #: jobs a worker in one go, where results come when all are there
#: name of a backend -> joblib's for it
BACKENDS = {"joblib": "loky", "dask": "dask", "ray": "ray"}


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

    Parameters
    ----------
    backend : a key of `BACKENDS`

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
    for fresh in _results(list(todo.values()), backend, n_jobs):
        store.put(fresh)
        found[fresh.key] = fresh
        done += 1
        if progress is not None:
            progress(done, len(jobs))
    return [result for job in jobs if (result := found[job.key]) is not None]


def _results(jobs: list[Job], backend: str, n_jobs: int) -> Iterator[Result]:
    """In any order, as they come in."""
    if not jobs or (backend == "joblib" and 1 in (n_jobs, len(jobs))):
        yield from map(run_job, jobs)
        return
    joblib = _library("joblib", "study")
    late = backend == "ray"  # its pool gives results when all are there, so it gets a few at a time
    if late:
        _library("ray.util.joblib", "ray").register_ray()
        n_jobs = -1 if "RAY_ADDRESS" in os.environ else n_jobs
    with _dask_client(n_jobs) if backend == "dask" else nullcontext(), joblib.parallel_config(BACKENDS[backend]):
        pool = joblib.Parallel(n_jobs, return_as="list" if late else "generator_unordered")
        step = ROUND * joblib.effective_n_jobs(n_jobs) if late else len(jobs)
        for start in range(0, len(jobs), step):
            yield from pool(joblib.delayed(run_job)(job) for job in jobs[start : start + step])


def _dask_client(n_jobs: int) -> Any:
    """Of the scheduler that DASK_SCHEDULER_ADDRESS names, else of one on this machine."""
    distributed, address = _library("distributed", "dask"), os.environ.get("DASK_SCHEDULER_ADDRESS")
    if address:
        return distributed.Client(address)
    return distributed.Client(n_workers=n_jobs, threads_per_worker=1, dashboard_address=None, silence_logs=50)


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(f"study: --backend needs {name}: pip install 'hybrid_bt[{extra}]'") from None
