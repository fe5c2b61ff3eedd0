"""Tables and figures of a study."""

import json
from pathlib import Path

from vocalremix.files import publish
from vocalremix.params import Settings
from vocalremix.report import figures, summary, tables
from vocalremix.report.study import read_study


def write_report(settings: Settings, data: Path, scores: Path, destination: Path) -> None:
    """Compare all runs of a study in the thesis's tables and figures.

    `data` holds `runs/<name>` with each training's checkpoint and history, `scores` a folder per run as
    vocalremix.evaluation writes it. Appear in `destination`, all of them or none:
    - `tables/*.md`, `tables/*.csv`: thesis tables 5.1 to 5.6, the sweep and an overview by protocol;
    - `figures/*.png`: thesis figures 5.2 and 5.3 and the training curves;
    - `plots/sweep.csv`, `plots/training.csv`: the numbers behind them;
    - `metrics.json`: the few numbers by which studies are compared, means over salient windows in dB.

    Raises InputError where a run or its scores are missing or no run of the sweep was validated.
    """
    study = read_study(settings, data, scores)
    with (
        publish(destination / "tables") as tables_folder,
        publish(destination / "figures") as figures_folder,
        publish(destination / "plots") as plots_folder,
        publish(destination / "metrics.json") as metrics_file,
    ):
        for folder in (tables_folder, figures_folder, plots_folder):
            folder.mkdir()
        for table in tables.all_tables(study):
            (tables_folder / f"{table.name}.md").write_text(table.markdown())
            (tables_folder / f"{table.name}.csv").write_text(table.csv())
        figures.save_all(study, figures_folder)
        summary.sweep_points(study).to_csv(plots_folder / "sweep.csv", index=False)
        summary.training_points(study).to_csv(plots_folder / "training.csv", index=False)
        metrics_file.write_text(json.dumps(summary.metrics(study), indent=1) + "\n")
