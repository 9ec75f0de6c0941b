"""Which jobs a plan takes, where they run (this process, this machine's cores, a user's cluster), and what is kept.

joblib (https://joblib.readthedocs.io) hands the same picklable jobs to this machine's cores, to Dask
(https://distributed.dask.org) or to Ray (https://docs.ray.io), so a study does not depend on where it ran. A result is
written when it comes in, whole or not at all; a study that is started again finds it by its key.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hybrid_bt.account.registry import Panel, momentum, study_accounts
from hybrid_bt.errors import ConfigError, library
from hybrid_bt.evidence.study.jobs import (
    BAR_BY_BAR,
    ENSEMBLE,
    Arrays,
    Job,
    Result,
    TradeJob,
    VoiceJob,
    opinions_of,
    run_job,
)
from hybrid_bt.files import read_arrays, write_arrays
from hybrid_bt.files.workers import end_with_parent, signals_as_exits

if TYPE_CHECKING:
    from hybrid_bt.evidence.study import Plan

Key = TypeVar("Key")

ROUND = 4  #: jobs a worker in one go, where results come when all are there
NEEDS = "study: --backend needs {}"
#: name of a backend -> joblib's for it
BACKENDS = {"joblib": "loky", "dask": "dask", "ray": "ray"}
#: costs a side at which the sweep trades, bps of notional
COST_LEVELS_BPS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
HURDLES = ("vol-target", "equal-weight")


def voice_jobs(plan: Plan) -> dict[tuple[int, int], VoiceJob]:
    """(window or -1 for the shipped policies, member) -> job."""
    if not plan.lessons:
        members = (ENSEMBLE, *range(plan.n_seeds))
        return {(-1, m): VoiceJob(f"record, {_member(m)}", plan.task, m) for m in members}
    names = [f"train and record, {window.name}" for window in plan.windows]
    return {(w, ENSEMBLE): VoiceJob(names[w], plan.task, ENSEMBLE, lessons) for w, lessons in enumerate(plan.lessons)}


def _member(number: int) -> str:
    return "ensemble" if number == ENSEMBLE else f"seed {number}"


def trade_jobs(plan: Plan, heard: dict[tuple[int, int], Arrays]) -> dict[tuple[str, int], TradeJob]:
    """(window's name, `whole` or cost level; member) -> job."""
    terms, called, moves = plan.task.config.terms(), plan.leg_accounts(), momentum(plan.bars)
    legs = list(called.values())
    names, learned = study_accounts(legs, called.get("sac", "sac")), plan.learned()
    swept = ("hybrid", *legs, *HURDLES)
    jobs: dict[tuple[str, int], TradeJob] = {}

    def panel(arrays: Arrays, first: int, last: int, member: int) -> Panel:
        rows = slice(first, last + 1)
        said, seed = opinions_of(arrays, rows).called(called), plan.seed + max(member, 0)
        return Panel(plan.cut(first, last), said, terms, momentum=moves[rows], seed=seed)

    for (window, member), arrays in heard.items():
        asked = names if member == ENSEMBLE else learned
        for w, cut in enumerate(plan.windows):
            if window in (-1, w):
                name = f"{cut.name}, {_member(member)}"
                jobs[cut.name, member] = TradeJob(name, panel(arrays, cut.first, cut.last, member), asked)
    for member, arrays in joined(plan, heard).items():
        whole = panel(arrays, plan.task.row, plan.bars.n_bars - 1, member)
        asked = names if member == ENSEMBLE else learned
        jobs["whole", member] = TradeJob(f"whole span, {_member(member)}", whole, asked)
        if member == ENSEMBLE:
            for bps in COST_LEVELS_BPS:
                costs = terms.costs._replace(spread_bps=0.0, fee_bps=bps)
                charged = whole._replace(terms=terms._replace(costs=costs))
                jobs[f"cost {bps:g}", member] = TradeJob(f"{bps:g} bps a side", charged, swept)
    return jobs


def joined(plan: Plan, heard: dict[tuple[int, int], Arrays]) -> dict[int, Arrays]:
    """Member -> arrays on all bars; where each window has policies of its own, those of each window in its rows."""
    if not plan.lessons:
        return {member: arrays for (_, member), arrays in heard.items()}
    if len(heard) < len(plan.windows):  # one failed
        return {}
    whole = {name: array.copy() for name, array in heard[0, ENSEMBLE].items()}
    for (w, _), arrays in heard.items():
        rows = slice(plan.windows[w].first, plan.windows[w].last + 1)
        for name in BAR_BY_BAR:
            whole[name][rows] = arrays[name][rows]
    return {ENSEMBLE: whole}


@dataclass(frozen=True)
class Runner:
    """Where jobs run, and the folder in which results are kept by key: one `.npz` each, without pickle.

    Parameters
    ----------
    backend : a key of `BACKENDS`
    progress : callable, optional
        Called as `progress(done, of)`.
    """

    folder: Path
    backend: str = "joblib"
    n_jobs: int = 1
    progress: Callable[[int, int], None] | None = None

    def run(self, jobs: Mapping[Key, Job]) -> tuple[dict[Key, Arrays], dict[str, str]]:
        """Arrays of the jobs that succeeded, in their order, from the folder where they are there already; and why the
        others failed, by their names.

        Raises
        ------
        ConfigError
            If the backend's library is missing, or a worker was killed.
        OSError
            If the folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {job.key: read_arrays(self._path(job.key)) for job in jobs.values()}
        found = {key: Result(key, arrays) for key, arrays in kept.items() if arrays is not None}
        todo = {job.key: job for job in jobs.values() if job.key not in found}
        done, tell = len(jobs) - len(todo), self.progress or (lambda done, of: None)
        tell(done, len(jobs))
        with closing(_results(list(todo.values()), self.backend, self.n_jobs)) as results:
            for number, fresh in enumerate(results, done + 1):
                found[fresh.key] = fresh
                if not fresh.failure:  # a failure is not kept, so that the next study tries again
                    write_arrays(self._path(fresh.key), fresh.arrays)
                tell(number, len(jobs))
        each = {key: found[job.key] for key, job in jobs.items()}
        failures = {jobs[key].name: result.failure for key, result in each.items() if result.failure}
        return {key: result.arrays for key, result in each.items() if not result.failure}, failures

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def _results(jobs: list[Job], backend: str, n_jobs: int) -> Generator[Result]:
    """In any order, as they come in."""
    if not jobs or (backend == "joblib" and 1 in (n_jobs, len(jobs))):
        yield from map(run_job, jobs)
        return
    joblib = library("joblib", "study", NEEDS.format("joblib"))
    late = backend == "ray"  # its pool gives results when all are there, so it gets a few at a time
    if late:
        library("ray.util.joblib", "ray", NEEDS.format("ray")).register_ray()
        n_jobs = -1 if "RAY_ADDRESS" in os.environ else n_jobs
    # arrays go by pipe, for files in memory outlive a kill
    here = {"max_nbytes": None, "initializer": end_with_parent} if backend == "joblib" else {}
    with (
        signals_as_exits(),
        _temporary_of_workers(),
        _dask_client(n_jobs) if backend == "dask" else nullcontext(),
        joblib.parallel_config(BACKENDS[backend], **here),
    ):
        pool = joblib.Parallel(n_jobs, return_as="list" if late else "generator_unordered")
        step = ROUND * joblib.effective_n_jobs(n_jobs) if late else len(jobs)
        try:
            for start in range(0, len(jobs), step):
                yield from pool(joblib.delayed(run_job)(job) for job in jobs[start : start + step])
        except BrokenProcessPool as error:
            how = re.search(r"SIG[A-Z]+", str(error))
            raise ConfigError(
                f"study: a worker was killed{f' by {how[0]}' if how else ''} from outside; free memory, or use fewer "
                "--jobs, and the same command goes on from what is done"
            ) from None


@contextmanager
def _temporary_of_workers() -> Iterator[None]:
    """Their temporary folders lie in one of ours: they are killed, and clear nothing away."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="hybrid-bt-") as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("TMPDIR")
            if before is not None:
                os.environ["TMPDIR"] = before


def _dask_client(n_jobs: int) -> AbstractContextManager[object]:
    """Of the scheduler that DASK_SCHEDULER_ADDRESS names, else of one on this machine."""
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    here = {"n_workers": n_jobs, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    client: AbstractContextManager[object]
    client = library("distributed", "dask", NEEDS.format("dask")).Client(**({"address": address} if address else here))
    return client
