"""Stage evaluate_sweep@CELL: the test scores of one training of the sweep."""

from evaluations import on_test_songs
from layout import read_cell, stage


def main() -> None:
    with stage() as layout:
        on_test_songs(layout, f"sweep/{read_cell().name}")


if __name__ == "__main__":
    main()
