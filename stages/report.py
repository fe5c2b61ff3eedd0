"""Stage report: all runs compared in the thesis's tables and figures, on a page."""

from layout import HOME, provenance, stage

from vocalremix.report import write_report
from vocalremix.tracking.store import add_report, open_store
from vocalremix.training import checkpoint


def main() -> None:
    with stage() as layout:
        store, reports = open_store(HOME, layout.experiment), layout.reports
        origin = provenance(layout)
        write_report(layout.settings, layout.data, reports / "scores", reports, origin)
        initial = checkpoint.read_metadata(layout.run("initial"))["mlflow_run_id"]
        name = origin["dvc.experiment"] or origin["git.commit"][:12]
        files = [reports / "verdicts.md", reports / "figures", reports / "tables"]
        add_report(store, initial, name, files)


if __name__ == "__main__":
    main()
