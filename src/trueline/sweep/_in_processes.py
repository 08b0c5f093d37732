"""Several runs at a time, in processes of their own that each finish one run after the other."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from trueline.sweep._work import Outcome, Stopped, Task, failed, work
from trueline.train import Interrupted, StopRequest

LOOK = 0.2  # seconds between looks whether somebody asked to stop


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    connection: "Connection[Task | None, Outcome | None]"
    ready: bool = False
    task: Task | None = None


def in_processes(tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """Finish runs in ``jobs`` processes, which share the threads that PyTorch has here.

    A process that dies, as for want of memory, fails its own run and is replaced. When this process dies, the others
    save what they are at and end.

    Args:
        tasks: the runs.
        jobs: how many at a time.

    Yields:
        Outcomes, as runs end.

    Raises:
        RuntimeError: if a process cannot start.
        Stopped: after Ctrl-C or SIGTERM, once the runs under way are saved.
    """
    waiting = deque(tasks)
    workers: list[_Worker] = []
    asked = False
    threads = max(1, torch.get_num_threads() // jobs)
    with StopRequest() as stop:
        try:
            for _ in range(min(jobs, len(tasks))):
                workers.append(_start(threads))
            while workers:
                if stop.signum and not asked:  # once: the second signal would end a process that is saving
                    asked = True
                    waiting.clear()
                    for worker in workers:
                        worker.process.terminate()
                for connection in wait([worker.connection for worker in workers], timeout=LOOK):
                    worker = next(each for each in workers if each.connection is connection)
                    alive, outcome = _hear(worker, stopping=bool(stop.signum))
                    if outcome is not None:
                        yield outcome
                    if alive and waiting and not stop.signum:
                        worker.task = waiting.popleft()
                        worker.connection.send(worker.task)
                        continue
                    workers.remove(worker)
                    _end(worker)
                    if waiting and not stop.signum:
                        workers.append(_start(threads))
            if stop.signum:
                raise Stopped(stop.signum)
        finally:
            for worker in workers:
                worker.process.kill()
                _end(worker)


def _start(threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, threads))
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _hear(worker: _Worker, *, stopping: bool) -> tuple[bool, Outcome | None]:
    """Return whether a process lives, and how its run ended, if it had one."""
    task, worker.task = worker.task, None
    try:
        outcome = worker.connection.recv()
        worker.ready = True
        return True, outcome
    except (EOFError, ConnectionResetError):
        worker.process.join()
    if stopping:
        return False, None
    code = worker.process.exitcode or 0
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if task is not None:
        return False, failed(task, f"the process of this run {how}")
    raise RuntimeError(
        f"a process of the sweep {how} before its first run; a script that starts one needs its calls under "
        "if __name__ == '__main__':"
    )


def _end(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.join()
    worker.process.close()


def _serve(connection: "Connection[Outcome | None, Task]", threads: int) -> None:
    os.setsid()  # Ctrl-C on a terminal reaches every process of a group; the first one passes it on
    torch.set_num_threads(threads)
    threading.Thread(target=_follow_parent, daemon=True).start()
    outcome = None
    while True:
        try:
            connection.send(outcome)
            task = connection.recv()
        except (EOFError, ConnectionError):  # nobody listens any more; a run that has ended is kept in its folder
            return
        try:
            outcome = work(task)
        except Interrupted:
            return


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
