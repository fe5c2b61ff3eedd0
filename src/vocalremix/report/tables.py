"""The thesis's tables 5.1 to 5.6 for a study, the sweep, and an overview by protocol."""

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd

from vocalremix.metrics import AVERAGES, aggregate
from vocalremix.params import Cell
from vocalremix.report.published import N_WINDOWS, PUBLISHED
from vocalremix.report.study import METRICS, USDR, Metric, Run, Scores, Study
from vocalremix.report.table import Row, Table, Value
from vocalremix.statistics import THRESHOLD_DB, difference_test, one_sample_test, paired_song_test

OURS, THESIS = "this run", "thesis"


def all_tables(study: Study) -> list[Table]:
    """Every table of the report."""
    return [
        _initial(study),
        _overfit(study),
        _best_cell(study),
        _difference(study),
        _train(study),
        _train_full(study),
        _sweep(study),
        _overview(study),
    ]


def _initial(study: Study) -> Table:
    name = "table_5_1_initial"
    rows = _beside_thesis(name, {metric: _tested(study.initial.scores, metric) for metric in METRICS})
    return Table(name, "Table 5.1: the initial checkpoint", f"{_protocol(study)} {THRESHOLD_TEST}", rows)


def _overfit(study: Study) -> Table:
    name = "table_5_2_overfit"
    rows = {}
    for metric in METRICS:
        ours = _described(study.overfit.scores, metric)
        initial_db = study.overfit_initial.mean(metric)
        rows[metric] = {
            "initial_mean_db": initial_db,
            "mean_db": ours["mean_db"],
            "difference_db": study.overfit.scores.mean(metric) - initial_db,
            "n_windows": ours["n_windows"],
            "n_nan": ours["n_nan"],
        }
    caption = (
        "The initial checkpoint, and the one that learned 12 seconds of one training song by heart, both scored on "
        f"those seconds' own windows ({study.settings.profile.sad.window_s:g} s each, n in the table): what the model "
        f"can hold, not how well it generalises; a test would have no sense. {FRAMES}"
    )
    return Table(name, "Table 5.2: overfitting 12 seconds", caption, _beside_thesis(name, rows, n_windows="3"))


def _best_cell(study: Study) -> Table:
    name = "table_5_3_best_cell"
    rows = _beside_thesis(name, {metric: _tested(study.best.scores, metric) for metric in METRICS})
    caption = (
        f"{_cell(study.best_cell)}: the cell of the sweep with the highest validation uSDR "
        f"({study.best.metadata['best_valid_usdr_db']:.2f} dB); the test songs had no say. The thesis's best had no "
        f"speech. {_training(study.best)} {_protocol(study)} {THRESHOLD_TEST} The thesis's t and SE of siSDR repeat "
        "those of table 5.1, a misprint."
    )
    return Table(name, "Table 5.3: the best cell of the sweep", caption, rows)


def _difference(study: Study) -> Table:
    name = "table_5_4_difference"
    trained, initial = study.best.scores, study.initial.scores
    rows: dict[Metric, Row] = {}
    for metric in METRICS:
        values, baseline = trained.windows[metric.of_window], initial.windows[metric.of_window]
        test = difference_test(values, baseline) if min(values.count(), baseline.count()) > 1 else None
        songs, songs_before = trained.songs[metric.of_song].align(initial.songs[metric.of_song])
        gains = songs - songs_before
        paired = paired_song_test(songs, songs_before, alternative="greater") if gains.count() > 1 else None
        rows[metric] = {
            "difference_db": float(values.mean() - baseline.mean()),
            "t": test.statistic if test else None,
            "se_db": test.standard_error if test else None,
            "p": test.p_value if test else None,
            "n_windows": int(values.count()),
            "n_nan": int(values.isna().sum() + baseline.isna().sum()),
            "song_difference_db": float(gains.mean()),
            "paired_p": paired.p_value if paired else None,
            "n_songs": int(gains.count()),
        }
    caption = (
        f"Trained minus initial; trained is {_cell(study.best_cell)}. Left, the thesis's one-sided z test (4.5.4, "
        "there called t), which takes n windows as independent. They are not: they overlap and share songs, so its p "
        "is too small. Right, the test that holds: one-sided paired t test of whole-song scores, n songs (cSDR: "
        f"median over a song's frames). {_protocol(study)}"
    )
    return Table(name, "Table 5.4: the best cell against the initial checkpoint", caption, _beside_thesis(name, rows))


def _train(study: Study) -> Table:
    name = "table_5_5_train"
    rows = _beside_thesis(name, {metric: _described(study.train.scores, metric) for metric in METRICS})
    caption = f"Training songs and their static copies. {_training(study.train)} {_protocol(study)}"
    return Table(name, "Table 5.5: trained with static copies", caption, rows)


def _train_full(study: Study) -> Table:
    name = "table_5_6_train_full"
    rows = {}
    for metric in METRICS:
        initial_db = study.initial.scores.mean(metric)
        ours = _described(study.train_full.scores, metric)
        increase = 100 * (study.train_full.scores.mean(metric) / initial_db - 1) if initial_db > 0 else None
        rows[metric] = {"mean_db": ours.pop("mean_db"), "increase_percent": increase, **ours}
    caption = (
        f"Training and validation songs and their static copies. {_training(study.train_full)} Increase: of the mean "
        "in dB over the initial checkpoint's, as in the thesis; none where that one is not positive. "
        f"{_protocol(study)}"
    )
    return Table(
        name, "Table 5.6: trained with static copies and validation songs", caption, _beside_thesis(name, rows)
    )


def _sweep(study: Study) -> Table:
    rows: list[Row] = [
        asdict(cell)
        | {"valid_uSDR_db": float(run.metadata["best_valid_usdr_db"])}
        | {f"{metric.name}_db": run.scores.mean(metric) for metric in METRICS}
        | {f"{metric.name}_std_db": float(run.scores.windows[metric.of_window].std()) for metric in METRICS}
        | {"n_windows": len(run.scores.windows), "n_nan": _n_nan(run.scores)}
        | {"chosen": "chosen" if cell == study.best_cell else None}
        for cell, run in study.cells.items()
    ]
    caption = (
        "All cells. Validation uSDR chooses (mean over fixed crops of the validation songs, at its best epoch); the "
        f"other columns are mean and std over test windows. {_protocol(study)}"
    )
    return Table("sweep", "The sweep", caption, rows)


def _overview(study: Study) -> Table:
    systems = {
        "mixture": study.mixture,
        "initial": study.initial.scores,
        "best cell": study.best.scores,
        "train": study.train.scores,
        "train_full": study.train_full.scores,
    }
    rows: list[Row] = []
    for system, scores in systems.items():
        averages = aggregate(scores.songs)
        rows.append(
            {
                "system": system,
                "source": OURS,
                **{name: averages[name] for name in ("usdr_db", "csdr_sisec_db", "csdr_thesis_db", "sisdr_db")},
                "n_songs": len(scores.songs),
                "window_usdr_db": scores.mean(USDR),
                "n_windows": len(scores.windows),
                "n_nan": int(scores.songs[list(AVERAGES)].isna().sum().sum()) + _n_nan(scores),
            }
        )
        table = THESIS_TABLES.get(system)
        if table:
            printed = {metric.of_song: PUBLISHED[table][metric.name]["mean_db"] for metric in METRICS}
            rows.append({**dict.fromkeys(rows[0]), "system": system, "source": THESIS, **printed})
    caption = (
        "Whole test songs, each column by its own protocol; numbers of different protocols cannot be compared. uSDR, "
        "MDX: mean over songs. cSDR, SiSEC: 1 s frames, median over frames, median over songs. cSDR, thesis: 2 s "
        "frames every 1.5 s, median over frames, mean over songs. siSDR: mean over songs. uSDR, windows: mean over "
        f"the salient {study.settings.profile.sad.window_s:g} s windows, as in tables 5.1 to 5.6. Mixture: the input, "
        f"taken for the {study.settings.params.target}. The thesis tests with n = {N_WINDOWS} windows, but scores 50 "
        f"songs by its own protocol. Best cell: {_cell(study.best_cell)}."
    )
    return Table("overview", "Overview by protocol", caption, rows)


THESIS_TABLES = {
    "initial": "table_5_1_initial",
    "best cell": "table_5_3_best_cell",
    "train": "table_5_5_train",
    "train_full": "table_5_6_train_full",
}
FRAMES = "cSDR: median over the window's 2 s frames every 1.5 s (the thesis's protocol)."
THRESHOLD_TEST = (
    f"t and p: the thesis's one-sided z test (4.5.3, there called t) of a mean above 10 log10 5 = {THRESHOLD_DB:.4f} "
    "dB, which takes the windows as independent."
)


def _protocol(study: Study) -> str:
    """What the scores are over, and how many."""
    sad = study.settings.profile.sad
    n_windows, n_songs = len(study.initial.scores.windows), len(study.initial.scores.songs)
    return (
        f"Scored per salient {sad.window_s:g} s window (every {sad.step_s:g} s) of the test songs: here n = "
        f"{n_windows} windows (songs: {n_songs}), in the thesis {N_WINDOWS} (songs: 50). {FRAMES} Windows whose score "
        "is NaN are left out and counted."
    )


def _training(run: Run) -> str:
    metadata = run.metadata
    return (
        f"{metadata['n_train_windows']} windows of {metadata['n_train_songs']} songs, {metadata['epochs']} epochs, "
        f"mix_prob {metadata['mix_prob']:g}, speech_remix_prob {metadata['speech_remix_prob']:g}."
    )


def _cell(cell: Cell) -> str:
    return ", ".join(f"{axis} {value:g}" for axis, value in asdict(cell).items())


def _described(scores: Scores, metric: Metric) -> dict[str, Value]:
    values = scores.windows[metric.of_window]
    return {
        "mean_db": float(values.mean()),
        "std_db": float(values.std()),
        "n_windows": int(values.count()),
        "n_nan": int(values.isna().sum()),
    }


def _tested(scores: Scores, metric: Metric) -> Row:
    """Mean and std with the thesis's test against the threshold, as far as there are windows for it."""
    values: pd.Series[float] = scores.windows[metric.of_window]
    test = one_sample_test(values) if values.count() > 1 else None
    described = _described(scores, metric)
    return {
        "mean_db": described.pop("mean_db"),
        "std_db": described.pop("std_db"),
        "t": test.statistic if test else None,
        "se_db": test.standard_error if test else None,
        "p": test.p_value if test else None,
        **described,
    }


def _n_nan(scores: Scores) -> int:
    return int(scores.windows[[metric.of_window for metric in METRICS]].isna().sum().sum())


def _beside_thesis(table: str, rows: Mapping[Metric, Row], n_windows: str = N_WINDOWS) -> list[Row]:
    """Under each row the same of the thesis, without what it does not print."""
    together: list[Row] = []
    for metric, ours in rows.items():
        printed = {**dict.fromkeys(ours), **PUBLISHED[table][metric.name], "n_windows": n_windows}
        together += [
            {"metric": metric.name, "source": source, **row} for source, row in ((OURS, ours), (THESIS, printed))
        ]
    return together
