"""Stage overfit: whether the model can learn three windows of one song by heart (thesis 5.3)."""

from layout import stage
from trainings import run

from vocalremix.training.recipe import Recipe, thesis_remixes


def main() -> None:
    with stage() as layout:
        params = layout.settings.params
        recipe = Recipe(
            name="overfit",
            stage="overfit",
            schedule=layout.settings.profile.training.overfit,
            remixes=thesis_remixes(params, mix_prob=0, speech_remix_prob=0),
            seed=params.seed,
            overfit=True,
        )
        run(layout, recipe, layout.run("initial"))


if __name__ == "__main__":
    main()
