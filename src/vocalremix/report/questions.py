"""The study's questions, each answered over the test songs: effects, and the sentences that the data support."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
import pandas as pd

from vocalremix.config.params import AXES, Cell, Value, shown
from vocalremix.report.study import METRICS, USDR, Metric, Run, Study
from vocalremix.report.table import Row, Table
from vocalremix.report.wording import Verdict, evidence, size, verdict, what_is_known
from vocalremix.statistics import THRESHOLD_DB
from vocalremix.statistics.effects import (
    FEWEST_SONGS_TO_DRAW,
    FEWEST_SONGS_TO_PLAN,
    RELEVANT_DB,
    Effect,
    adjust,
    paired_effect,
)

HEADLINE = USDR
SETTINGS = [name for name, axis in AXES.items() if axis.question]
SETTING_BY_SETTING = "Setting by setting"
INTERACTION = "Does speech help more where songs are scarce?"
FINE_TUNING = "Does fine-tuning with remixing beat the initial checkpoint?"
FINAL = "Do the final trainings beat the initial checkpoint?"
THRESHOLD = f"Is the mean above 10 log10 5 = {THRESHOLD_DB:.2f} dB?"
ONE_DRAW = "All trainings hear the same songs of a share: intervals say nothing of other songs to train on."
NOTES = {axis.question: axis.note for axis in AXES.values()} | {
    FINAL: (
        "Whole trainings, as in the thesis: beside static copies, train has its own mix_prob and more steps than "
        "initial, train_full also validation songs and more steps than train. What copies or songs add by themselves "
        "is not told apart."
    ),
}
"""What has to be known to read the answers, by question."""

Differences = Mapping[Metric, pd.DataFrame]
"""Of each metric, a row for each song and a column for each training, called by its draw of the songs."""


@dataclass(frozen=True)
class Comparison:
    """One system against another (or a threshold) and, per metric, what the songs say of it."""

    subject: str
    baseline: str
    effects: Mapping[Metric, Effect]


@dataclass(frozen=True)
class Question:
    """Comparisons that were made together; their p values are adjusted for that, within each metric."""

    title: str
    comparisons: Sequence[Comparison]
    is_detail: bool = False
    """Whether the question before it sums this one up."""
    note: str = ""
    """What has to be known to read the answers; empty where nothing is."""

    @property
    def verdicts(self) -> list[Verdict]:
        """What the data say of uSDR, a sentence for each comparison."""
        headlines = [(comparison, comparison.effects.get(HEADLINE)) for comparison in self.comparisons]
        return [
            Verdict(_capital(self._sentence(comparison, effect)), effect.direction)
            for comparison, effect in headlines
            if effect
        ]

    def _sentence(self, comparison: Comparison, effect: Effect) -> str:
        if self.title == THRESHOLD:
            return _level_sentence(comparison.subject, effect)
        if self.title == INTERACTION:
            return _gain_sentence(comparison, effect)
        return verdict(effect, f"{comparison.subject}, against {comparison.baseline},", HEADLINE.name)


def ask(study: Study) -> list[Question]:
    """Every question that the study's runs can answer, over whole test songs.

    Cells that differ in their seed only are one system. A metric that no song has is left out.
    """
    settings = _by_settings(study)
    best = settings[study.best_cell.setting]
    asked = [question for axis in SETTINGS if axis in study.swept_axes for question in _axis(study, settings, axis)]
    if {"speech_remix_prob", "data_fraction"} <= set(study.swept_axes):
        asked.append(_interaction(study, settings))
    asked.append(_question(FINE_TUNING, [("the best cell", "initial", _gains(best, study.initial))]))
    asked.append(
        _question(
            FINAL,
            [
                ("train", "initial", _gains([study.train], study.initial)),
                ("train_full", "initial", _gains([study.train_full], study.initial)),
                ("train_full", "train", _gains([study.train_full], study.train)),
            ],
        )
    )
    levels = {"initial": [study.initial], "the best cell": best, "train_full": [study.train_full]}
    asked.append(_question(THRESHOLD, [(name, "the threshold", _above(runs)) for name, runs in levels.items()]))
    of_one_draw = {AXES["data_fraction"].question, INTERACTION} if "songs_seed" not in study.swept_axes else {}
    notes = {title: " ".join(filter(None, [NOTES.get(title), ONE_DRAW])) for title in of_one_draw}
    return [
        replace(question, note=(NOTES | notes).get(question.title, "")) for question in asked if question.comparisons
    ]


def effects_table(questions: Iterable[Question]) -> Table:
    """All comparisons and metrics."""
    rows: list[Row] = [
        {
            "question": question.title,
            "system": comparison.subject,
            "against": comparison.baseline,
            "metric": metric.name,
            "unit": metric.unit,
            "difference": effect.difference,
            "low": effect.confidence_interval.low,
            "high": effect.confidence_interval.high,
            "interval": effect.method or None,
            "p": effect.p_value,
            "holm_p": effect.adjusted_p,
            "wilcoxon_p": effect.wilcoxon_p_value,
            "cohens_d": effect.cohens_d,
            "n_songs": effect.n_songs,
            "n_draws": effect.n_draws,
            "n_seeds": effect.n_seeds,
            "n_nan": effect.n_dropped,
            "songs_needed": effect.songs_needed if metric.unit == "dB" else None,
        }
        for question in questions
        for comparison in question.comparisons
        for metric, effect in comparison.effects.items()
    ]
    caption = (
        "Differences of whole-song scores on the same test songs (cSDR: median over a song's frames). p: paired t "
        "test, two-sided; with several seeds, songs and seeds as crossed random effects; with several draws of the "
        "training songs, draws too. Holm p: adjusted for all "
        "comparisons under the same question and metric; a sentence takes sides only where it is below 0.05 and the "
        "95 % interval leaves zero out. Interval: BCa bootstrap over songs, paired t where there are fewer than "
        f"{FEWEST_SONGS_TO_DRAW}, or crossed random effects. Wilcoxon's p and Cohen's d are of each song's "
        "mean. "
        f"Songs needed: for {RELEVANT_DB:g} dB to be found 4 times out of 5 among as many comparisons; none where "
        f"fewer than {FEWEST_SONGS_TO_PLAN} songs leave open how much songs differ, where seeds differ too much for "
        "any number of songs, or where both draws and seeds are several. NaN: songs left out because a score is "
        "undefined."
    )
    return Table("effects", "All comparisons", caption, rows)


def _question(title: str, comparisons: Sequence[tuple[str, str, Differences]], is_detail: bool = False) -> Question:
    effects: list[dict[Metric, Effect]] = [{} for _ in comparisons]
    for metric in METRICS:
        scored = [(index, entry[2][metric]) for index, entry in enumerate(comparisons)]
        scored = [(index, differences) for index, differences in scored if not differences.dropna().empty]
        adjusted = (
            adjust([replace(_effect(differences), unit=metric.unit) for _, differences in scored]) if scored else []
        )
        for (index, _), effect in zip(scored, adjusted, strict=True):
            effects[index][metric] = effect
    return Question(
        title,
        [
            Comparison(subject, baseline, of_metrics)
            for (subject, baseline, _), of_metrics in zip(comparisons, effects, strict=True)
            if of_metrics
        ],
        is_detail,
    )


def _axis(study: Study, settings: Mapping[Cell, list[Run]], axis: str) -> list[Question]:
    """Each value of an axis against its base: the least remixing, or all songs.

    Where other axes vary too, first on average over them, then at each of their values.
    """
    asked, base = AXES[axis].question, AXES[axis].base(study.settings.params.sweep.values(axis))
    others = [other for other in SETTINGS if other != axis and other in study.swept_axes]
    by_value: dict[Value, list[Differences]] = {}
    each = []
    for cell, runs in settings.items():
        if (value := getattr(cell, axis)) != base:
            where = "".join(f" at {other} {shown(getattr(cell, other))}" for other in others)
            differences = _gains(runs, *settings[replace(cell, **{axis: base})])
            by_value.setdefault(value, []).append(differences)
            each.append((f"{axis} {shown(value)}{where}", shown(base), differences))
    if not others:
        return [_question(asked, each)]
    over = " and ".join(others)
    pooled = [
        (f"{axis} {shown(value)} on average over {over}", shown(base), _mean(of_value))
        for value, of_value in by_value.items()
    ]
    return [_question(asked, pooled), _question(f"{asked} {SETTING_BY_SETTING}", each, is_detail=True)]


def _interaction(study: Study, settings: Mapping[Cell, list[Run]]) -> Question:
    """The effect of speech at the smallest share of songs minus the same at the largest."""
    sweep = study.settings.params.sweep
    fractions = sweep.values("data_fraction")
    base, few, many = min(sweep.values("speech_remix_prob")), min(fractions), max(fractions)
    comparisons = []
    for cell, runs in settings.items():
        if cell.data_fraction == few and cell.speech_remix_prob != base:
            at_few = _gains(runs, *settings[replace(cell, speech_remix_prob=base)])
            of_many = settings[replace(cell, data_fraction=many)]
            at_many = _gains(of_many, *settings[replace(cell, data_fraction=many, speech_remix_prob=base)])
            comparisons.append(
                (
                    f"the gain by speech_remix_prob {cell.speech_remix_prob:g} at data_fraction {few:g}"
                    + "".join(
                        f" and {axis} {shown(getattr(cell, axis))}"
                        for axis in ("remix", "mix_prob")
                        if axis in study.swept_axes
                    ),
                    f"the gain at data_fraction {many:g}",
                    {metric: at_few[metric] - _repeated(at_many[metric], at_few[metric]) for metric in METRICS},
                )
            )
    return _question(INTERACTION, comparisons)


def _by_settings(study: Study) -> dict[Cell, list[Run]]:
    """The cells' runs, those of all seeds together; where all songs are trained on, those of one draw."""
    settings: dict[Cell, list[Run]] = {}
    first_draw = study.settings.params.sweep.values("songs_seed")[0]
    for cell, run in study.cells.items():
        if run.draw is not None or cell.songs_seed == first_draw:
            settings.setdefault(cell.setting, []).append(run)
    return settings


def _effect(differences: pd.DataFrame) -> Effect:
    """Of the table of `paired_effect`, songs by draws by seeds."""
    of_draws = [of_draw.T.to_numpy() for _, of_draw in differences.T.groupby(level=0, sort=False, dropna=False)]
    return paired_effect(np.stack(of_draws, axis=1))


def _gains(runs: Sequence[Run], *baselines: Run) -> Differences:
    """Per metric, `(songs, trainings)` differences; fewer baselines, or runs, stand for the trainings of every draw."""
    n_trainings = max(len(runs), len(baselines))
    pairs = [(runs[n % len(runs)], baselines[n % len(baselines)]) for n in range(n_trainings)]
    draws = [baseline.draw if run.draw is None else run.draw for run, baseline in pairs]
    return {
        metric: pd.concat(
            [run.scores.songs[metric.of_song] - baseline.scores.songs[metric.of_song] for run, baseline in pairs],
            axis=1,
            keys=draws,
        )
        for metric in METRICS
    }


def _repeated(differences: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """The trainings of one draw, for every draw of another table."""
    times = like.shape[1] // differences.shape[1]
    return pd.DataFrame(np.tile(differences.to_numpy(), times), differences.index, like.columns)


def _mean(of_settings: Sequence[Differences]) -> Differences:
    """Over settings, song by song and training by training."""

    def mean(tables: list[pd.DataFrame]) -> pd.DataFrame:
        widest = max(tables, key=lambda table: table.shape[1])
        return reduce(add, [_repeated(table, widest) for table in tables]) / len(tables)

    return {metric: mean([one[metric] for one in of_settings]) for metric in METRICS}


def _above(runs: Sequence[Run]) -> Differences:
    return {
        metric: pd.concat(
            [run.scores.songs[metric.of_song] - THRESHOLD_DB for run in runs], axis=1, keys=[run.draw for run in runs]
        )
        for metric in METRICS
    }


def _gain_sentence(comparison: Comparison, effect: Effect) -> str:
    subject, baseline, name = comparison.subject, comparison.baseline, HEADLINE.name
    if effect.is_supported:
        return f"{subject}, in {name}, is {_apart(effect)} {baseline}, {evidence(effect)}."
    return f"Cannot tell {subject} from {baseline}: {what_is_known(effect)}."


def _level_sentence(subject: str, effect: Effect) -> str:
    name = HEADLINE.name
    if effect.is_supported:
        return f"The mean {name} of {subject} is {_apart(effect)} it, {evidence(effect)}."
    return f"Cannot tell for {subject}: its mean {name} is {effect.difference:+.2f} dB from it, {evidence(effect)}."


def _apart(effect: Effect) -> str:
    return f"{size(effect)} {'above' if effect.difference > 0 else 'below'}"


def _capital(sentence: str) -> str:
    """The names of runs and parameters keep their spelling."""
    return f"The {sentence.removeprefix('the ')}" if sentence.startswith("the ") else sentence
