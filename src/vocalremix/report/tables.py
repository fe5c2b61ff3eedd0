"""The thesis's tables 5.1 to 5.6 for a study, the sweep, and an overview by protocol."""

from collections.abc import Mapping
from dataclasses import asdict, replace

import pandas as pd

from vocalremix.config.params import Cell, shown
from vocalremix.report.published import N_SONGS, N_WINDOWS, PUBLISHED
from vocalremix.report.study import THESIS_METRICS, USDR, Metric, Run, Scores, Study, mean_valid_db
from vocalremix.report.table import Row, Table, Value
from vocalremix.scoring.metrics import SONG_PROTOCOLS, aggregate
from vocalremix.statistics import THRESHOLD_DB, difference_test, one_sample_test
from vocalremix.statistics.effects import FEWEST_SONGS_TO_DRAW, paired_effect

OURS, THESIS = "this run", "thesis"


def all_tables(study: Study) -> list[Table]:
    """Every table of the report; the thesis's numbers are vocals', and stand beside no other target's."""
    tables = [
        _initial(study),
        _overfit(study),
        _best_cell(study),
        _difference(study),
        _train(study),
        _train_full(study),
        _sweep(study),
        _overview(study),
        _compute(study),
    ]
    if study.settings.params.target == "vocals":
        return tables
    return [replace(table, rows=[row for row in table.rows if row.get("source") != THESIS]) for table in tables]


def _initial(study: Study) -> Table:
    name = "table_5_1_initial"
    rows = {metric: _tested(study.initial.scores, metric) for metric in THESIS_METRICS}
    together = _beside_thesis(name, rows, {metric: _thesis_test(name, metric) for metric in THESIS_METRICS})
    caption = f"{_protocol(study)} {THRESHOLD_TEST} {BY_SONG} {SONG_INTERVAL}"
    return Table(name, "Table 5.1: the initial checkpoint", caption, together)


def _overfit(study: Study) -> Table:
    name = "table_5_2_overfit"
    rows = {}
    for metric in THESIS_METRICS:
        ours = _described(study.overfit.scores, metric)
        initial_db = study.overfit_initial.mean(metric)
        rows[metric] = {
            "initial_mean_db": initial_db,
            "mean_db": ours["mean_db"],
            "difference_db": study.overfit.scores.mean(metric) - initial_db,
            "n_windows": ours["n_windows"],
            "n_nan": ours["n_nan"],
        }
    sad = study.settings.profile.sad
    heard_s = sad.window_s + 2 * min(sad.step_s, sad.window_s)
    caption = (
        f"The initial checkpoint, and the one that learned {heard_s:g} seconds of one training song by heart. Both are "
        f"scored on those seconds' own windows ({sad.window_s:g} s every {sad.step_s:g} s, n in the table). "
        f"This shows what the model can hold, not how well it generalises, so there is no test. {FRAMES}"
    )
    return Table(name, "Table 5.2: overfitting three windows", caption, _beside_thesis(name, rows, n_windows="3"))


def _best_cell(study: Study) -> Table:
    name = "table_5_3_best_cell"
    rows = {metric: _tested(study.best.scores, metric) for metric in THESIS_METRICS}
    together = _beside_thesis(name, rows, {metric: _thesis_test(name, metric) for metric in THESIS_METRICS})
    caption = (
        f"{_chosen(study)}; the test songs had no say. The thesis's best had no "
        f"speech. {_training(study.best)} {_protocol(study)} {THRESHOLD_TEST} The thesis's t and SE of siSDR repeat "
        f"those of table 5.1, a misprint. {BY_SONG} {SONG_INTERVAL}"
    )
    return Table(name, "Table 5.3: the best cell of the sweep", caption, together)


def _difference(study: Study) -> Table:
    name = "table_5_4_difference"
    trained, initial = study.best.scores, study.initial.scores
    rows: dict[Metric, Row] = {}
    for metric in THESIS_METRICS:
        values, baseline = trained.windows[metric.of_window], initial.windows[metric.of_window]
        test = difference_test(values, baseline) if min(values.count(), baseline.count()) > 1 else None
        songs, songs_before = trained.songs[metric.of_song], initial.songs[metric.of_song]
        by_song = difference_test(songs, songs_before) if min(songs.count(), songs_before.count()) > 1 else None
        rows[metric] = {
            "difference_db": float(values.mean() - baseline.mean()),
            "t": test.statistic if test else None,
            "se_db": test.standard_error if test else None,
            "p": test.p_value if test else None,
            "n_windows": int(values.count()),
            "n_nan": int(values.isna().sum() + baseline.isna().sum()),
            "song_p": by_song.p_value if by_song else None,
            **_gain(trained, initial, metric),
        }
    caption = (
        f"Trained minus initial; trained is {_chosen(study)}. Left, the thesis's one-sided z test (4.5.4, there called "
        "t). It takes n windows as independent, which overlap and share songs: that makes p too small. And it takes "
        "the two sets of scores as independent, which are of the same windows: that makes p too large. Without the "
        f"pairs nobody can tell which of the two prevails. {BY_SONG} It still ignores the pairs. Right, what holds: "
        f"{GAIN} {_protocol(study)}"
    )
    together = _beside_thesis(name, rows, {metric: _thesis_difference(metric) for metric in THESIS_METRICS})
    return Table(name, "Table 5.4: the best cell against the initial checkpoint", caption, together)


def _train(study: Study) -> Table:
    name = "table_5_5_train"
    scores, initial = study.train.scores, study.initial.scores
    rows = {metric: _described(scores, metric) | _gain(scores, initial, metric) for metric in THESIS_METRICS}
    caption = f"Training songs and their static copies. {_training(study.train)} {_protocol(study)} Right, {GAIN}"
    return Table(name, "Table 5.5: trained with static copies", caption, _beside_thesis(name, rows))


def _train_full(study: Study) -> Table:
    name = "table_5_6_train_full"
    rows = {}
    for metric in THESIS_METRICS:
        initial_db = study.initial.scores.mean(metric)
        ours = _described(study.train_full.scores, metric)
        increase = 100 * (study.train_full.scores.mean(metric) / initial_db - 1) if initial_db > 0 else None
        gain = _gain(study.train_full.scores, study.initial.scores, metric)
        rows[metric] = {"mean_db": ours.pop("mean_db"), "increase_percent": increase, **ours, **gain}
    caption = (
        f"Training and validation songs and their static copies. {_training(study.train_full)} Increase: of the mean "
        "in dB over the initial checkpoint's, as in the thesis; none where that one is not positive. "
        f"{_protocol(study)} Right, {GAIN}"
    )
    return Table(
        name, "Table 5.6: trained with static copies and validation songs", caption, _beside_thesis(name, rows)
    )


def _sweep(study: Study) -> Table:
    rows: list[Row] = [
        asdict(cell)
        | {"valid_uSDR_db": float(run.metadata["best_valid_usdr_db"])}
        | {f"{metric.name}_db": run.scores.mean(metric) for metric in THESIS_METRICS}
        | {f"{metric.name}_std_db": float(run.scores.windows[metric.of_window].std()) for metric in THESIS_METRICS}
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
                "usdr_db": averages["usdr_db"],
                **_interval(scores.songs[USDR.of_song]),
                **{name: averages[name] for name in SONG_PROTOCOLS if name != USDR.of_song},
                "n_songs": int(scores.songs[USDR.of_song].count()),
                "window_usdr_db": scores.mean(USDR),
                "n_windows": len(scores.windows),
                "n_nan": int(scores.songs[list(SONG_PROTOCOLS)].isna().sum().sum()) + _n_nan(scores),
            }
        )
        table = THESIS_TABLES.get(system)
        if table:
            printed = {metric.of_song: PUBLISHED[table][metric.name]["mean_db"] for metric in THESIS_METRICS}
            rows.append({**dict.fromkeys(rows[0]), "system": system, "source": THESIS, **printed})
    caption = (
        "Whole test songs, each column by its own protocol; numbers of different protocols cannot be compared. uSDR, "
        "MDX: mean over songs, with its 95 % interval had the songs been others. cSDR, SiSEC: 1 s frames in which "
        "target and accompaniment sound, median over frames, median over songs. cSDR, thesis: 2 s frames every 1.5 s, "
        "median over frames, mean over songs. siSDR: mean over songs. uSDR, windows: mean over "
        f"the salient {study.settings.profile.sad.window_s:g} s windows, as in tables 5.1 to 5.6. n songs: with a "
        "uSDR; NaN: undefined scores, of songs by any protocol and of windows by any metric. Mixture: the input, "
        f"taken for the {study.settings.params.target}. The thesis does not say clearly what its means are over: 50 "
        f"songs (4.5), or the {N_WINDOWS} windows that it tests with (4.5.4). Best cell: {_chosen(study)}."
    )
    return Table("overview", "Overview by protocol", caption, rows)


def _compute(study: Study) -> Table:
    """Time and money, and what they went into."""
    runs = {"initial": study.initial, "overfit": study.overfit}
    runs |= {f"sweep {_cell(cell)}": run for cell, run in study.cells.items()}
    runs |= {"train": study.train, "train_full": study.train_full}
    columns = ("epochs", "best_epoch", "n_train_songs", "n_train_windows", "accelerator", "devices", "precision")
    rows: list[Row] = [
        {"run": name, **{key: run.metadata.get(key) for key in (*columns, "device_hours", "cost")}}
        | {"best_epoch": _best_epoch(run)}
        for name, run in runs.items()
    ]
    hours = sum(float(run.metadata.get("device_hours", 0)) for run in runs.values())
    costs = [float(run.metadata["cost"]) for run in runs.values() if "cost" in run.metadata]
    total = {"run": "all", "device_hours": hours, "cost": sum(costs) if costs else None}
    rows.append({**dict.fromkeys(rows[0]), **total})
    caption = (
        "Best epoch: by validation, counted from 1. Device hours: wall time of the epochs, validation included, times "
        "devices; cost at price_per_gpu_hour where the profile sets one. The thesis: 288 GPU hours in all, 427 dollars "
        "in its last month (5.1)."
    )
    return Table("compute", "Time and cost", caption, rows)


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


BY_SONG = (
    "p, n = songs: the same test with whole-song scores and the number of songs; for the thesis, computed here from "
    "its means and standard deviations with n = 50."
)
INTERVAL = f"BCa bootstrap over songs, with fewer than {FEWEST_SONGS_TO_DRAW} Student's t"
SONG_INTERVAL = f"The 95 % interval is that of the mean over songs ({INTERVAL})."
GAIN = (
    "the gain over the initial checkpoint in whole-song scores of the same songs (cSDR: median over a song's frames), "
    f"its 95 % interval ({INTERVAL}), and two-sided p of the paired t test and of "
    "Wilcoxon's."
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


def _best_epoch(run: Run) -> int | None:
    is_validated = "best_valid_usdr_db" in run.metadata
    return int(run.metadata["best_epoch"]) + 1 if is_validated else None


def _chosen(study: Study) -> str:
    """The best cell and why it was chosen."""
    mean_db = f"{mean_valid_db(study.cells)[study.best_cell.setting]:.2f} dB"
    n_seeds = sum(cell.setting == study.best_cell.setting for cell in study.cells)
    if n_seeds == 1:
        return f"{_cell(study.best_cell)}, the cell of the sweep with the highest validation uSDR ({mean_db})"
    return (
        f"{_cell(study.best_cell)}, the first of {n_seeds} trainings of the settings with the highest mean "
        f"validation uSDR ({mean_db}; the sentences on what the data support are about all of them)"
    )


def _cell(cell: Cell) -> str:
    return ", ".join(f"{axis} {shown(value)}" for axis, value in asdict(cell).items())


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
    songs: pd.Series[float] = scores.songs[metric.of_song]
    test = one_sample_test(values) if values.count() > 1 else None
    by_song = one_sample_test(songs) if songs.count() > 1 else None
    described = _described(scores, metric)
    return {
        "mean_db": described.pop("mean_db"),
        "std_db": described.pop("std_db"),
        "t": test.statistic if test else None,
        "se_db": test.standard_error if test else None,
        "p": test.p_value if test else None,
        **described,
        "song_p": by_song.p_value if by_song else None,
        "song_mean_db": float(songs.mean()),
        **_interval(songs),
        "n_songs": int(songs.count()),
    }


def _interval(song_scores: "pd.Series[float]") -> dict[str, Value]:
    """The 95 % interval of a mean over songs, as far as there are songs for it."""
    if not song_scores.count():
        return {"low_db": None, "high_db": None}
    low, high = paired_effect(song_scores).confidence_interval
    return {"low_db": low, "high_db": high}


def _gain(scores: Scores, initial: Scores, metric: Metric) -> dict[str, Value]:
    """The gain over the initial checkpoint on the same songs, with the test that holds."""
    gains = scores.songs[metric.of_song] - initial.songs[metric.of_song]
    effect = paired_effect(gains) if gains.count() else None
    return {
        "song_difference_db": effect.difference if effect else None,
        **_interval(gains),
        "paired_p": effect.p_value if effect else None,
        "wilcoxon_p": effect.wilcoxon_p_value if effect else None,
        "n_songs": int(gains.count()),
    }


def _thesis_test(table: str, metric: Metric) -> Row:
    """What the thesis's test of a printed mean gives with its 50 songs for n."""
    printed = PUBLISHED[table][metric.name]
    test = one_sample_test(mean=float(printed["mean_db"]), std=float(printed["std_db"]), n=N_SONGS)
    return {"song_p": test.p_value, "n_songs": N_SONGS}


def _thesis_difference(metric: Metric) -> Row:
    """What the thesis's test of a difference gives with its 50 songs for n."""
    trained, initial = PUBLISHED["table_5_3_best_cell"][metric.name], PUBLISHED["table_5_1_initial"][metric.name]
    test = difference_test(
        mean_a=float(trained["mean_db"]),
        std_a=float(trained["std_db"]),
        n_a=N_SONGS,
        mean_b=float(initial["mean_db"]),
        std_b=float(initial["std_db"]),
        n_b=N_SONGS,
    )
    return {"song_p": test.p_value, "n_songs": N_SONGS}


def _n_nan(scores: Scores) -> int:
    return int(scores.windows[[metric.of_window for metric in THESIS_METRICS]].isna().sum().sum())


def _beside_thesis(
    table: str,
    rows: Mapping[Metric, Row],
    computed: Mapping[Metric, Row] | None = None,
    n_windows: str = N_WINDOWS,
) -> list[Row]:
    """Under each row the same of the thesis: what it prints, and what is `computed` from that."""
    together: list[Row] = []
    for metric, ours in rows.items():
        printed = {**dict.fromkeys(ours), **PUBLISHED[table][metric.name], "n_windows": n_windows}
        printed |= (computed or {}).get(metric, {})
        together += [
            {"metric": metric.name, "source": source, **row} for source, row in ((OURS, ours), (THESIS, printed))
        ]
    return together
