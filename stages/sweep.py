"""Stage sweep@CELL: one training of the sweep, without static copies (thesis 5.4)."""

from layout import read_cell, stage
from trainings import run

from vocalremix.remix.policies import by_policy
from vocalremix.training.recipe import Recipe, thesis_remixes


def main() -> None:
    with stage() as layout:
        cell, params = read_cell(), layout.settings.params
        thesis = thesis_remixes(params, cell.mix_prob, cell.speech_remix_prob)
        remixes, last = by_policy(thesis, params.remixes[cell.remix])
        recipe = Recipe(
            name=f"sweep/{cell.name}",
            stage="sweep",
            schedule=layout.settings.profile.training.sweep,
            remixes=remixes,
            last=last,
            seed=cell.seed,
            data_fraction=cell.data_fraction,
            songs_seed=cell.songs_seed,
            policy=cell.remix,
            cell=cell.title,
        )
        run(layout, recipe, layout.run("initial"))


if __name__ == "__main__":
    main()
