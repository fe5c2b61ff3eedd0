"""Stage train_full: the final training goes on with the validation songs added (thesis 5.5)."""

from layout import stage
from trainings import run

from vocalremix.experiment import Recipe


def main() -> None:
    with stage() as layout:
        params = layout.settings.params
        recipe = Recipe(
            name="train_full",
            stage="train_full",
            schedule=layout.settings.profile.training.train_full,
            mix_prob=params.mix_prob,
            speech_remix_prob=params.speech_remix_prob,
            seed=params.seed,
            parts=("train", "valid"),
        )
        run(layout, recipe, layout.run("train"), copies=True)


if __name__ == "__main__":
    main()
