"""Stage evaluate@RUN: the test scores of the initial checkpoint or of a final training."""

import sys

from evaluations import on_test_songs
from layout import stage


def main() -> None:
    with stage() as layout:
        on_test_songs(layout, sys.argv[1])


if __name__ == "__main__":
    main()
