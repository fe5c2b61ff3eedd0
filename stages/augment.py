"""Stage augment: the static copies of training and validation songs."""

from layout import stage

from vocalremix.windows.augment import make_copies
from vocalremix.windows.table import read_windows


def main() -> None:
    with stage() as layout:
        profile = layout.settings.profile
        make_copies(
            layout.music,
            read_windows(layout.index),
            layout.augmented,
            **profile.augment.model_dump(),
            **profile.sad.model_dump(),
            target=layout.settings.params.target,
            scratch=layout.scratch("augment"),
        )


if __name__ == "__main__":
    main()
