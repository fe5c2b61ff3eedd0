"""Stage evaluate_overfit: the overfit run and the initial checkpoint on the windows it learned (table 5.2)."""

from evaluations import on_overfit_windows
from layout import stage


def main() -> None:
    with stage() as layout:
        for name in ("initial", "overfit"):
            on_overfit_windows(layout, name)


if __name__ == "__main__":
    main()
