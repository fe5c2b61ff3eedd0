"""Tables, figures, verdicts and the page of a study."""

import json
from collections.abc import Mapping
from pathlib import Path

from vocalremix.config.params import Settings
from vocalremix.report import summary
from vocalremix.report.excerpts import choose_excerpts
from vocalremix.report.figures import draw_all
from vocalremix.report.listening import write_listening
from vocalremix.report.page import LISTENING, study_page
from vocalremix.report.questions import ask, effects_table
from vocalremix.report.study import read_study
from vocalremix.report.tables import all_tables
from vocalremix.util.files import publish


def write_report(
    settings: Settings,
    data: Path,
    scores: Path,
    destination: Path,
    provenance: Mapping[str, str],
) -> None:
    """Compare all runs of a study in the thesis's tables and figures, and say what they support.

    `data` holds `music` and `runs/<name>` with each training's checkpoint and history, `scores` a folder per run as
    vocalremix.scoring.evaluation writes it. `provenance` names the code the study was made with (`git.commit`,
    `dvc.experiment`, …). Appear in `destination`, all of them or none:
    - `index.html`, `listening/`: the page and what it plays;
    - `tables/*.md`, `tables/*.csv`: thesis tables 5.1 to 5.6, the sweep, an overview by protocol, all effects, costs;
    - `figures/*.png`, `figures/*.svg`: thesis figures 5.2 and 5.3, the sweep as a map, the training curves;
    - `plots/*.csv`: the numbers behind them;
    - `verdicts.md`: what the data support, in sentences;
    - `metrics.json`: the few numbers by which studies are compared, means over salient windows in dB.
    The same page appears as `index.html` in the folder above, for whoever looks there first.

    Raises InputError where a run or its scores are missing or no run of the sweep was validated.
    """
    study = read_study(settings, data, scores)
    questions = ask(study)
    tables = [*all_tables(study), effects_table(questions)]
    drawings = draw_all(study)
    excerpts = choose_excerpts(study, data / "music")
    points = {
        "sweep": summary.sweep_points(study),
        "songs": summary.song_points(study),
        "training": summary.training_points(study),
    }
    with (
        publish(destination / "tables") as tables_folder,
        publish(destination / "figures") as figures_folder,
        publish(destination / "plots") as plots_folder,
        publish(destination / LISTENING) as listening_folder,
        publish(destination / "verdicts.md") as verdicts_file,
        publish(destination / "index.html") as page_file,
        publish(destination.parent / "index.html") as entrance_file,
        publish(destination / "metrics.json") as metrics_file,
    ):
        for folder in (tables_folder, figures_folder, plots_folder, listening_folder):
            folder.mkdir()
        for table in tables:
            (tables_folder / f"{table.name}.md").write_text(table.markdown(), encoding="utf-8")
            (tables_folder / f"{table.name}.csv").write_text(table.csv(), encoding="utf-8")
        for drawing in drawings:
            drawing.save(figures_folder)
        for name, table_of_points in points.items():
            table_of_points.to_csv(plots_folder / f"{name}.csv", index=False)
        write_listening(excerpts, listening_folder)
        verdicts_file.write_text(summary.verdicts(questions), encoding="utf-8")
        for file, assets in ((page_file, ""), (entrance_file, f"{destination.name}/")):
            page = study_page(study, questions, tables, drawings, excerpts, provenance, assets)
            file.write_text(page, encoding="utf-8")
        metrics_file.write_text(json.dumps(summary.metrics(study), indent=1) + "\n", encoding="utf-8")
