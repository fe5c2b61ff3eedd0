"""Stage resample_speech: the utterances at the songs' sample rate."""

from layout import at_home, stage

from vocalremix.config.params import DemoSpeech
from vocalremix.corpus.librispeech import resample_corpus


def main() -> None:
    with stage() as layout:
        speech = layout.settings.profile.corpus.speech
        source = layout.speech_source if isinstance(speech, DemoSpeech) else at_home(speech.path)
        resample_corpus(source, layout.speech, scratch=layout.scratch("resample_speech"))


if __name__ == "__main__":
    main()
