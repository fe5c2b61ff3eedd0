"""Stage train_full: the final training goes on with the validation songs added (thesis 5.5)."""

from layout import stage
from trainings import run

from vocalremix.remix.policies import by_policy
from vocalremix.training.recipe import Recipe, thesis_remixes


def main() -> None:
    with stage() as layout:
        params = layout.settings.params
        thesis = thesis_remixes(params, params.mix_prob, params.speech_remix_prob)
        remixes, last = by_policy(thesis, params.remixes[params.remix])
        recipe = Recipe(
            name="train_full",
            stage="train_full",
            schedule=layout.settings.profile.training.train_full,
            remixes=remixes,
            last=last,
            policy=params.remix,
            seed=params.seed,
            parts=("train", "valid"),
        )
        run(layout, recipe, layout.run("train"), copies=True)


if __name__ == "__main__":
    main()
