"""Batches of images by worker processes: torch's DataLoader, with failures that say what to do.

How many workers there are (REWEIGH_LOADER_WORKERS; 0: none) decides when an image is decoded and nothing else, so it is
no part of a spec.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from reweigh.errors import ConfigError, DataError

WORKERS = "REWEIGH_LOADER_WORKERS"
MOST_WORKERS = 8  # unless more are asked for: a run has up to three streams, each with workers of its own

Asked = list[tuple[int, int | None]]  # of each image its row, and the seed of its random cut
Read = Callable[[int, int | None], torch.Tensor]  # row, seed -> uint8 (3, side, side)


def worker_count() -> int:
    """Worker processes of each stream: REWEIGH_LOADER_WORKERS, else one less than the processors, from 1 to 8.

    None where a run is itself one of several worker processes on a CPU: such a process may not have its own.
    """
    said = os.environ.get(WORKERS, "").strip()
    if said and not said.isdecimal():
        raise ConfigError(f"{WORKERS} is {said!r}; set it to a number of worker processes, 0 for none")
    if multiprocessing.current_process().daemon:
        return 0
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(said) if said else min(MOST_WORKERS, max(1, processors - 1))


def loaded(read: Read, count: int, batches: Iterable[Asked]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For each batch asked for, in that order, its rows int64 (B,) and images uint8 (B, 3, side, side), on the host.

    `read` gives one of the `count` images; it must be picklable where worker processes are not forked. Raises
    DataError, in one line, for a file that cannot be read (when its batch is due) or a worker that died. Closing the
    iterator ends its workers.
    """
    workers = worker_count()
    loader = DataLoader(
        _Pictures(read, count),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # else the loader would draw from torch's own
    )
    iterator, processes = _started(loader)
    try:
        while True:
            try:
                got = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                raise _failure(error, workers) from None
            if isinstance(got, DataError):
                raise got
            rows, images = got
            yield torch.from_numpy(rows), images
    finally:  # not left to torch, which waits for the images at hand, and five seconds a stream where gc comes first
        for process in processes:
            process.terminate()


def ready(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Host values ready to be copied to the device: pinned if that is a GPU, so that the copy waits for nobody.

    Pinned here and not by the loader, whose thread for that may call CUDA while this thread captures a graph.
    """
    return values.pin_memory() if device.type == "cuda" else values


class _Pictures(Dataset[torch.Tensor]):
    """A whole batch at a time, so that a worker decodes straight into it."""

    def __init__(self, read: Read, count: int) -> None:
        self.read, self.count = read, count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, asked: Asked) -> tuple[np.ndarray, torch.Tensor] | DataError:
        try:
            images = None
            for place, (row, seed) in enumerate(asked):
                image = self.read(row, seed)
                if images is None:
                    images = _room(len(asked), image)
                images[place] = image
        except DataError as error:
            return error  # raised here, it would reach the user as a worker's traceback
        return np.array([row for row, _ in asked]), images  # type: ignore[return-value]


def _room(count: int, image: torch.Tensor) -> torch.Tensor:
    """Space for a batch of such images; in a worker, where the training process can see it.

    torch would move the batch there later, in a thread whose failure for want of space nobody hears of.
    """
    images = torch.empty((count, *image.shape), dtype=image.dtype)
    if get_worker_info() is None:
        return images
    try:
        return images.share_memory_()
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"no shared memory for a batch ({reason}); enlarge /dev/shm, or lower {WORKERS}") from None


def _unchanged(batch: Any) -> Any:
    return batch


def _started(loader: DataLoader) -> tuple[Iterator[Any], set[BaseProcess]]:
    """The loader's iterator, and its workers, which are running.

    torch installs a handler that answers a dead worker with a RuntimeError in whatever line the main thread is at just
    then. It is taken back: the line that waits for the worker is told anyway, within five seconds.
    """
    handler, others = signal.getsignal(signal.SIGCHLD), set(multiprocessing.active_children())
    iterator = iter(loader)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if handler is None else handler)
    return iterator, set(multiprocessing.active_children()) - others


def _begin_worker(number: int) -> None:
    """Let a worker end by SIGTERM only if the training process sends it.

    A scheduler or `timeout` sends it to the whole job, and means the training process, which then takes its last step
    and saves; for that it needs its workers. They end with it, however it ends.
    """
    gc.freeze()  # what was garbage in the parent when it forked, loaders of its own among it, is not a worker's to end
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    parent = multiprocessing.parent_process()
    while parent and signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(0)


def _failure(error: RuntimeError, workers: int) -> Exception:
    """What a loader's RuntimeError means to the user; the error itself if it is not about the workers."""
    text = " ".join(str(error).split())
    if "Too many open files" in text:
        return DataError(f"too many open files for {workers} loader workers; raise ulimit -n, or lower {WORKERS}")
    if text.startswith("DataLoader worker (pid"):
        return DataError(
            f"a loader worker died ({text}); most often memory or /dev/shm was full: lower {WORKERS}, now {workers}"
        )
    return error
