"""Stage download_music: the songs of corpus.music in one layout, fetched first where the profile says so."""

from layout import HOME, Layout, at_home, stage

from vocalremix.config.params import DemoMusic, ExcerptsMusic, FolderMusic, MusdbMusic
from vocalremix.corpus.demo import make_music
from vocalremix.corpus.folder import import_folder
from vocalremix.corpus.moisesdb import find_songs, import_songs
from vocalremix.corpus.musdb import import_musdb, obtain_excerpts, obtain_musdb
from vocalremix.util.files import publish


def main() -> None:
    with stage() as layout:
        music = layout.settings.profile.corpus.music
        if isinstance(music, DemoMusic):
            make_music(layout.music, music.train, music.valid, music.test, music.duration_s, music.seed)
            return
        # before hours are spent on the other songs
        more_songs = find_songs(at_home(music.moisesdb)) if music.moisesdb else []
        obtain(layout, music)
        with publish(layout.music) as partial:
            if isinstance(music, FolderMusic):
                import_folder(at_home(music.path), partial, music.valid, music.test)
            else:
                import_musdb(at_home(music.path), partial)
            import_songs(more_songs, partial / "train")


def obtain(layout: Layout, music: FolderMusic | MusdbMusic | ExcerptsMusic) -> None:
    path = at_home(music.path)
    if isinstance(music, ExcerptsMusic) and music.download:
        obtain_excerpts(path)
    elif isinstance(music, MusdbMusic) and music.download:
        augment = layout.settings.profile.augment
        n_copies = len(augment.pitch_semitones) + len(augment.tempo)
        archive = music.download
        obtain_musdb(path, archive.url, archive.sha256, HOME / "scratch", archive.keep_archive, n_copies)


if __name__ == "__main__":
    main()
