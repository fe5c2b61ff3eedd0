"""Stage report: all runs compared in the thesis's tables and figures."""

from layout import stage

from vocalremix.report import write_report


def main() -> None:
    with stage() as layout:
        write_report(layout.settings, layout.data, layout.reports / "scores", layout.reports)


if __name__ == "__main__":
    main()
