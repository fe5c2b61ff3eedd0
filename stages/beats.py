"""Stage beats: tempo, beats and key of every song, for remixes that match them."""

import json

from layout import stage

from vocalremix.util.files import publish
from vocalremix.windows.beats import find_pulses


def main() -> None:
    with stage() as layout:
        pulses = find_pulses(layout.music, scratch=layout.scratch("beats"))
        with publish(layout.beats) as partial:
            partial.write_text(json.dumps(pulses), encoding="utf-8")


if __name__ == "__main__":
    main()
