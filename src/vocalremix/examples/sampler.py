"""The order of an epoch's examples, and who takes which."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from vocalremix.examples.dataset import Key, RemixDataset


class EpochSampler(Sampler[Key]):
    """The keys of one process's examples; together, the processes go through every global batch side by side.

    An epoch has one order for all, from (seed, training, epoch). Its tail that does not fill a global batch is left
    out. Of `world` processes, number `rank` takes `order[rank::world]`: `world` consecutive examples go to the
    processes one each, so the k-th batches of `global_batch / world` of all processes are exactly the k-th
    `global_batch` examples, whatever `world` is, and training with more processes is the same training.
    """

    def __init__(self, examples: RemixDataset, global_batch: int, *, rank: int = 0, world: int = 1) -> None:
        """Start at epoch 0. Raises ValueError where `world` does not divide `global_batch`."""
        if global_batch % world:
            raise ValueError(f"a global batch of {global_batch} cannot be shared by {world} processes alike")
        self._examples = examples
        self._n_used = len(examples) // global_batch * global_batch
        self._rank, self._world = rank, world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to go through next; Lightning calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        """The number of this process's examples in an epoch."""
        return self._n_used // self._world

    def __iter__(self) -> Iterator[Key]:
        """Yields (epoch, index)."""
        epoch = self._epoch
        order = self._examples.random(epoch, name="order").permutation(len(self._examples))
        for index in order[: self._n_used][self._rank :: self._world].tolist():
            yield epoch, index
