"""Make the batch of the next step in a thread while a step is computed."""

from concurrent.futures import Future, ThreadPoolExecutor

from napari_graphflow.training.batches import Batch, Batches


class BatchesAhead:
    """Batches of another object, one step ahead.

    They remain a function of seed and step: what is made ahead is only ever returned for the step
    that it was made for. A single thread makes all batches, because the transforms have a state
    within a batch, and draws from none of torch's global generators. Its work is done outside of
    Python's lock.

    Parameters
    ----------
    batches
        Makes them.
    steps
        Number of steps of the run.
    """

    def __init__(self, batches: Batches, steps: int) -> None:
        self._batches, self._steps = batches, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._made: dict[tuple[int, bool], Future[Batch]] = {}

    def __call__(self, step: int, *, labelled_only: bool = False) -> Batch:
        """Return the batch of a step, or only its labelled patches; begin with the next one."""
        now, following = (step, labelled_only), (step + 1, labelled_only)
        batch = self._made.pop(now, None) or self._make(*now)
        for other in self._made.values():
            other.cancel()
        self._made = {following: self._make(*following)} if step + 1 < self._steps else {}
        return batch.result()

    def close(self) -> None:
        """Stop making batches, and wait for the one that is being made."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _make(self, step: int, labelled_only: bool) -> "Future[Batch]":
        return self._thread.submit(self._batches, step, labelled_only=labelled_only)
