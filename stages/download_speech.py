"""Stage download_speech: the utterances of corpus.speech, synthesised here or listed where they are."""

from layout import at_home, stage

from vocalremix.corpus.demo import make_speech
from vocalremix.corpus.librispeech import write_listing
from vocalremix.params import DemoSpeech


def main() -> None:
    with stage() as layout:
        speech = layout.settings.profile.corpus.speech
        if isinstance(speech, DemoSpeech):
            make_speech(layout.speech_source, speech.speakers, speech.utterances, speech.seed)
        else:
            write_listing(at_home(speech.path), layout.speech_source)


if __name__ == "__main__":
    main()
