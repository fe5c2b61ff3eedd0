"""The order of an epoch's examples, and who takes which."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from vocalremix.examples.dataset import Key, RemixDataset


class EpochSampler(Sampler[Key]):
    """The keys of one process's examples; together, the processes go through every global batch side by side.

    A pass over all windows has one order for all processes, from (seed, training, pass). An epoch is a pass without
    its tail that does not fill a global batch; or it is the next `epoch_examples` of passes that follow one another,
    rounded down to global batches. A window that comes again in an epoch has an index higher by the number of windows:
    it is another example.

    Of `world` processes, number `rank` takes `order[rank::world]`: `world` consecutive examples go to the processes one
    each, so the k-th batches of `global_batch / world` of all processes are exactly the k-th `global_batch` examples,
    whatever `world` is, and training with more processes is the same training.
    """

    def __init__(
        self,
        examples: RemixDataset,
        global_batch: int,
        *,
        epoch_examples: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Start at epoch 0. Raises ValueError where `world` does not divide `global_batch`."""
        if global_batch % world:
            raise ValueError(f"a global batch of {global_batch} cannot be shared by {world} processes alike")
        self._examples = examples
        self._n_used = (epoch_examples or len(examples)) // global_batch * global_batch
        self._pass_examples = len(examples) if epoch_examples else max(self._n_used, 1)
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
        first_pass, skipped = divmod(self._epoch * self._n_used, self._pass_examples)
        indices: list[int] = []
        while len(indices) < skipped + self._n_used:
            again = len(indices) // self._pass_examples
            order = self._examples.random(first_pass + again, name="order").permutation(len(self._examples))
            indices += (order[: self._pass_examples] + again * len(self._examples)).tolist()
        taken = indices[skipped : skipped + self._n_used]
        return ((self._epoch, index) for index in taken[self._rank :: self._world])
