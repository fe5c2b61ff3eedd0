"""Stage report: all runs compared in the thesis's tables and figures, on a page."""

from layout import HOME, provenance, stage

from vocalremix import checkpoint
from vocalremix.report import write_report
from vocalremix.tracking import Store, add_report


def main() -> None:
    with stage() as layout:
        reports = layout.reports
        write_report(layout.settings, layout.data, reports / "scores", reports, provenance(layout))
        initial = checkpoint.read_metadata(layout.run("initial"))["mlflow_run_id"]
        store = Store(HOME, layout.experiment)
        add_report(store, initial, {}, [reports / "verdicts.md", reports / "figures", reports / "tables"])


if __name__ == "__main__":
    main()
