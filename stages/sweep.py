"""Stage sweep@CELL: one training of the sweep, without static copies (thesis 5.4)."""

from layout import read_cell, stage
from trainings import run

from vocalremix.experiment import Recipe


def main() -> None:
    with stage() as layout:
        cell = read_cell()
        recipe = Recipe(
            name=f"sweep/{cell.name}",
            stage="sweep",
            schedule=layout.settings.profile.training.sweep,
            mix_prob=cell.mix_prob,
            speech_remix_prob=cell.speech_remix_prob,
            seed=cell.seed,
            data_fraction=cell.data_fraction,
            songs_seed=layout.settings.params.seed,
        )
        run(layout, recipe, layout.run("initial"))


if __name__ == "__main__":
    main()
