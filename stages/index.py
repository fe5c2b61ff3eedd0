"""Stage index: the salient windows of the target in every song, once all songs are known to be whole."""

from layout import stage

from vocalremix.check import refuse_faults
from vocalremix.util.files import publish
from vocalremix.windows.sad import index_corpus


def main() -> None:
    with stage() as layout:
        sad = layout.settings.profile.sad
        refuse_faults(layout.music)
        windows = index_corpus(
            layout.music, layout.settings.params.target, **sad.model_dump(), scratch=layout.scratch("index")
        )
        with publish(layout.index) as partial:
            windows.to_csv(partial, index=False)


if __name__ == "__main__":
    main()
