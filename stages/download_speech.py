"""Stage download_speech: the utterances of corpus.speech, synthesised here, or fetched and listed where they are."""

from layout import HOME, at_home, stage

from vocalremix.config.params import DemoSpeech
from vocalremix.corpus.demo import make_speech
from vocalremix.corpus.librispeech import obtain_librispeech, write_listing


def main() -> None:
    with stage() as layout:
        speech = layout.settings.profile.corpus.speech
        if isinstance(speech, DemoSpeech):
            make_speech(layout.speech_source, speech.speakers, speech.utterances, speech.seed)
            return
        path = at_home(speech.path)
        if archive := speech.download:
            obtain_librispeech(path, archive.url, archive.sha256, HOME / "scratch", archive.keep_archive)
        write_listing(path, layout.speech_source)


if __name__ == "__main__":
    main()
