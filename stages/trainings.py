"""What the five training stages share."""

from pathlib import Path

from layout import HOME, Layout, data_digests, provenance

from vocalremix.tracking.store import open_store
from vocalremix.training.devices import choose_devices, keep_freed_memory
from vocalremix.training.recipe import Data, Recipe
from vocalremix.training.run import import_initial, train


def run(layout: Layout, recipe: Recipe, start: Path | None, *, copies: bool = False) -> None:
    """Train a recipe on the profile's data into the run's folder."""
    store, tags = open_store(HOME, layout.experiment), provenance(layout)
    if choose_devices(layout.settings.profile.compute).accelerator == "cpu":
        keep_freed_memory()
    phases = [recipe.remixes, *([recipe.last[1]] if recipe.last else [])]
    taken = [remix for remixes in phases for remix in remixes.values() if remix.prob]
    data = Data(
        music=layout.music,
        windows=layout.index,
        copies=layout.augmented if copies else None,
        speech=layout.speech if any(remix.needs_speech for remix in taken) else None,
        beats=layout.beats if any(remix.needs_pulses for remix in taken) else None,
        name=layout.settings.params.profile,
        digests=data_digests(layout),
    )
    train(recipe, layout.settings, data, store, tags, start, layout.run(recipe.name))


def take_over(layout: Layout, recipe: Recipe, checkpoint: Path) -> None:
    """Let a finished checkpoint stand for a training."""
    store, tags = open_store(HOME, layout.experiment), provenance(layout)
    import_initial(checkpoint, recipe, layout.settings, store, tags, layout.run(recipe.name))
