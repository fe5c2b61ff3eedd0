"""Stage initial: the checkpoint everything is fine-tuned from, imported or trained."""

from layout import at_home, stage
from trainings import run, take_over

from vocalremix.training.recipe import Recipe, thesis_remixes


def main() -> None:
    with stage() as layout:
        params, profile = layout.settings.params, layout.settings.profile
        recipe = Recipe(
            name="initial",
            stage="initial",
            schedule=profile.training.initial,
            remixes=thesis_remixes(params, profile.initial.mix_prob, speech_remix_prob=0),
            seed=params.seed,
            data_fraction=profile.initial.data_fraction,
            songs_seed=params.seed,
        )
        if profile.initial.checkpoint:
            take_over(layout, recipe, at_home(profile.initial.checkpoint))
        else:
            run(layout, recipe, start=None)


if __name__ == "__main__":
    main()
