"""Stage download_music: the songs of corpus.music in one layout."""

from layout import at_home, stage

from vocalremix.corpus.demo import make_music
from vocalremix.corpus.folder import import_folder
from vocalremix.corpus.musdb import import_musdb
from vocalremix.params import DemoMusic, FolderMusic


def main() -> None:
    with stage() as layout:
        music = layout.settings.profile.corpus.music
        if isinstance(music, DemoMusic):
            make_music(layout.music, music.train, music.valid, music.test, music.duration_s, music.seed)
        elif isinstance(music, FolderMusic):
            import_folder(at_home(music.path), layout.music, music.valid, music.test)
        else:
            import_musdb(at_home(music.path), layout.music)


if __name__ == "__main__":
    main()
