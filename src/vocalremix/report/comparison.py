"""Two systems on the same songs: checkpoints, MLflow runs or other separators' estimates, paired song by song."""

import math
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from vocalremix.audio.reading import read
from vocalremix.audio.waveform import Waveform, resample, to_stereo
from vocalremix.config.params import Sad
from vocalremix.corpus import PARTS, equal_length, readable, song_folders
from vocalremix.corpus.folder import check_stems
from vocalremix.report.excerpts import songs_by_gain
from vocalremix.report.figures import draw_pair
from vocalremix.report.listening import Excerpt, Track, listening_html, write_listening
from vocalremix.report.page import LISTENING, render
from vocalremix.report.table import Row, Table, Value
from vocalremix.report.wording import Verdict, verdict
from vocalremix.scoring import metrics
from vocalremix.scoring.estimates import Estimates
from vocalremix.scoring.evaluation import loudest_window, score_song
from vocalremix.scoring.metrics import SONG_PROTOCOLS, WINDOW_PROTOCOLS, Case, Float64
from vocalremix.separation import Separator, separate_recording
from vocalremix.statistics.effects import FEWEST_SONGS_TO_DRAW, UNKNOWN, Effect, paired_effect, song_interval
from vocalremix.training.checkpoint import DESCRIPTION, read_metadata
from vocalremix.util.errors import InputError, counted
from vocalremix.util.values import SAMPLE_RATE, STEMS, parse
from vocalremix.windows.sad import salient_starts

HEADLINE = "usdr_db"
SIDES = ("mixture", "A", "B")
OUTPUTS = ("index.html", "listening", "comparison.md", "comparison.csv", "songs.csv")
PUBLISHED_INDEX = Sad(rule="amanteur", window_s=6, step_s=3)
SAYS_NOTHING = {*PARTS, *STEMS, "checkpoint"}
RUN_ID = re.compile(r"(?:runs:/)?([0-9a-f]{32})(?:/.*)?")


@dataclass(frozen=True)
class Comparison:
    """What two systems reached on the same songs, and what follows from it.

    `table` has a row per metric and protocol, `verdicts` a sentence for each. `notes` tell which songs were left out
    and which estimates were converted. `sad` chose the salient windows. `songs` has a row per song and side: part (""
    without parts), song, side ("mixture", "A" or "B"), system (what the side is called), n_windows (salient ones) and
    the scores of SONG_PROTOCOLS in dB. `excerpts` are of the songs with B's largest, median and smallest gain in uSDR.
    """

    names: tuple[str, str]
    target: str
    table: Table
    verdicts: list[Verdict]
    notes: list[str]
    sad: Sad
    songs: pd.DataFrame
    excerpts: list[Excerpt]


class Model:
    """A checkpoint, which makes an estimate for any song; `sad`: how its training found windows, if it says so."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self._separator = Separator.from_checkpoint(folder, **options)
        self.target = str(self._separator.model.target)
        metadata = read_metadata(folder)
        known = {key: metadata[key] for key in Sad.model_fields if key in metadata}
        # imported weights know nothing of windows
        self.sad = parse(Sad, known, f"{folder / DESCRIPTION}: metadata.") if known else None

    def has(self, song: str) -> bool:
        """Always."""
        return True

    def estimate(self, song: str, mixture: Waveform) -> Waveform:
        """What the model makes of the mixture."""
        return separate_recording(self._separator, mixture, SAMPLE_RATE, song)

    def notes(self) -> list[str]:
        """None."""
        return []


System = Model | Estimates
"""One side of a comparison: what makes or holds an estimate of the target for a song."""


def compare(
    a: str,
    b: str,
    songs: Path,
    *,
    part: str | None = None,
    target: str | None = None,
    name_a: str | None = None,
    name_b: str | None = None,
    repository: Path = Path(),
    **separator_options: Any,
) -> Comparison:
    """Score A and B on the songs that both have, one song in memory at a time, and test B minus A paired by song.

    Parameters
    ----------
    a, b
        A checkpoint folder, an MLflow run of the store of `repository` (32 hex digits or `runs:/<id>`), or a folder
        of estimates as `find_estimates` takes it.
    songs
        A folder of `<song>/<stem>.*` or `<part>/<song>/<stem>.*`, any format and sample rate. The mixture is the sum
        of the four stems.
    part
        The part to score; default "test" where `songs` has parts.
    target
        The stem to score; default that of the checkpoints, without any "vocals".
    name_a, name_b
        What A and B are called; default the last part of the path that says something.
    separator_options
        Of `Separator`, for checkpoints: hop_s, batch_size, device, precision.

    Salient windows are found as the checkpoints' profile has it (`choose_sad`).

    Raises InputError for what is missing, ambiguous, unreadable or of another length, and where no song is left.
    """
    chosen, others = _find_songs(songs, part)
    stems = {readable(folder.name): check_stems(folder) for folder in chosen}
    if len(stems) < len(chosen):
        raise InputError(f"{songs}: two songs have one name, in UTF-8 and in Latin-1; rename one")
    systems, target = _open_systems((a, b), target, list(stems), others, repository, separator_options)
    names = _distinct((readable(name_a or _default_name(a)), readable(name_b or _default_name(b))), (a, b))
    sad, notes = choose_sad(systems, names)
    missing = [[song for song in stems if not system.has(song)] for system in systems]
    both = [song for song in stems if song not in {*missing[0], *missing[1]}]
    if not both:
        raise InputError(f"{a} and {b}: no song of {songs} has an estimate in both; separate the same songs with both")
    notes += [
        f"{name}: no estimate of {counted(len(without), 'song')}, left out: {', '.join(without)}"
        for name, without in zip(names, missing, strict=True)
        if without
    ]
    per_song: list[dict[str, Any]] = []
    per_window: list[dict[str, Any]] = []
    excerpts: dict[str, Excerpt] = {}
    for song in tqdm(both, desc="compare", unit="song"):
        song_rows, window_rows, excerpts[song] = _score(
            song, stems[song], target, dict(zip(names, systems, strict=True)), sad
        )
        per_song += song_rows
        per_window += window_rows
    notes += [f"{name}: {note}" for name, system in zip(names, systems, strict=True) for note in system.notes()]
    by_song = pd.DataFrame(per_song)
    by_window = pd.DataFrame(per_window, columns=["song", "side", "start_sample", *WINDOW_PROTOCOLS])
    rows, verdicts = assess(by_song, by_window, names)
    its_part = chosen[0].parent.name if chosen[0].parent != songs else ""
    by_song.insert(0, "part", its_part)
    where = readable(f"{songs}, part {its_part}" if its_part else str(songs))
    caption = f"{target.capitalize()} of {counted(len(both), 'song')} of {where}. A: {names[0]}. B: {names[1]}."
    return Comparison(
        names=names,
        target=target,
        table=Table("comparison", f"{names[1]} against {names[0]}", caption, rows),
        verdicts=verdicts,
        notes=notes,
        sad=sad,
        songs=by_song,
        excerpts=_choose(excerpts, by_song, names),
    )


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write OUTPUTS into an existing folder: a page and what it plays, the table and each song's scores."""
    (folder / LISTENING).mkdir()
    write_listening(comparison.excerpts, folder / LISTENING)
    (folder / "index.html").write_text(_page(comparison), encoding="utf-8")
    text = describe(comparison) + _listed("How to read it", legend(comparison.sad))
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    (folder / "comparison.csv").write_text(comparison.table.csv(), encoding="utf-8")
    comparison.songs.to_csv(folder / "songs.csv", index=False)


def _page(comparison: Comparison) -> str:
    a, b = (comparison.songs[comparison.songs.side == side].set_index(["part", "song"]) for side in ("A", "B"))
    by_song = comparison.songs.pivot(index="song", columns="side", values=HEADLINE)
    rows: list[Row] = [
        {"song": song, "mixture_db": mixture, "A_db": of_a, "B_db": of_b, "difference_db": of_b - of_a}
        for song, mixture, of_a, of_b in by_song[list(SIDES)].itertuples()
    ]
    return render(
        "comparison.html.j2",
        contents=[("verdicts", "Verdicts"), ("listen", "Listen"), ("songs", "Song by song")],
        comparison=comparison,
        legend=legend(comparison.sad),
        listening=listening_html(comparison.excerpts, LISTENING),
        drawing=draw_pair(a, b, comparison.names),
        songs=Table("scores", "Whole-song uSDR", "A, B and the unprocessed mixture; difference: B minus A.", rows),
    )


def describe(comparison: Comparison) -> str:
    """Table, verdicts and notes as Markdown."""
    table, verdicts, notes = comparison.table, comparison.verdicts, comparison.notes
    return (
        table.markdown()
        + _listed("Verdicts", (text for text, _ in verdicts))
        + (_listed("Notes", notes) if notes else "")
    )


def _listed(title: str, lines: Iterable[str]) -> str:
    return f"\n## {title}\n\n" + "".join(f"- {line}\n" for line in lines)


def _find_songs(root: Path, part: str | None) -> tuple[list[Path], list[str]]:
    """The folders of the songs to score, and the names of the songs in other parts."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name a folder of songs with --songs")
    found = song_folders(root)
    parts = sorted({its_part for its_part, _ in found} - {""}, key=PARTS.index)
    part = part or ("test" if parts else "")
    if part and part not in parts:
        raise InputError(f"{root}: no part {part}; choose another with --part: {', '.join(parts) or 'there are none'}")
    chosen = [folder for its_part, folder in found if its_part == part]
    if not chosen:
        raise InputError(f"{root / part}: no songs; expected <song>/{{{','.join(STEMS)}}}.wav (or flac, ogg, mp3, ...)")
    return chosen, [folder.name for its_part, folder in found if its_part != part]


def _score(
    song: str, stems: Mapping[str, Path], target: str, systems: Mapping[str, System], sad: Sad
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Excerpt]:
    """A row for each side, one for each side and window, and what is to be heard; no more is kept of a song."""
    mixture, reference = _read_song(stems, target)
    starts = salient_starts(reference, SAMPLE_RATE, sad.rule, sad.window_s, sad.step_s)
    window_samples = round(sad.window_s * SAMPLE_RATE)
    heard = [("mixture", mixture), *((name, system.estimate(song, mixture)) for name, system in systems.items())]
    song_rows: list[dict[str, Any]] = []
    window_rows: list[dict[str, Any]] = []
    for side, (name, waveform) in zip(SIDES, heard, strict=True):
        scores, scores_by_window = score_song(waveform, reference, mixture, starts, window_samples)
        song_rows.append({"song": song, "side": side, "system": name, "n_windows": len(starts)} | scores)
        window_rows += [{"song": song, "side": side} | row for row in scores_by_window]
    return song_rows, window_rows, _excerpt(song, reference, heard, starts, window_samples)


def _read_song(files: Mapping[str, Path], target: str) -> tuple[Waveform, Waveform]:
    """The mixture, the sum of the stems, and one of them, `(channels, samples)` at 44.1 kHz."""
    mixture: Waveform = np.zeros((2, 1), np.float32)
    lengths = {}
    for stem, path in files.items():
        raw, sample_rate = read(path)
        waveform = to_stereo(resample(raw, sample_rate, SAMPLE_RATE), str(path))
        lengths[stem] = waveform.shape[1]
        equal_length(lengths, path.parent)
        mixture = mixture + waveform
        if stem == target:
            reference = waveform
    return mixture, reference


def _open_systems(
    given: tuple[str, str],
    target: str | None,
    songs: Collection[str],
    others: Collection[str],
    repository: Path,
    separator_options: Mapping[str, Any],
) -> tuple[tuple[System, System], str]:
    """Both sides and the target, on which they have to agree."""
    models = [_load(one, repository, separator_options) for one in given]
    targets = {one: found.target for one, found in zip(given, models, strict=True) if found}
    wanted = target or next(iter(targets.values()), "vocals")
    if wanted not in STEMS:
        raise InputError(f"target {wanted}: choose one of {', '.join(STEMS)}")
    for one, its_target in targets.items():
        if its_target != wanted:
            raise InputError(f"{one}: extracts {its_target}, not {wanted}; compare systems with the same target")
    a, b = (found or Estimates(Path(one), wanted, songs, others) for one, found in zip(given, models, strict=True))
    return (a, b), wanted


def _load(given: str, repository: Path, options: Mapping[str, Any]) -> Model | None:
    """The checkpoint that is meant, None where it is a folder of something else."""
    path = Path(given)
    if path.is_dir():
        return Model(path, options) if (path / DESCRIPTION).exists() else None
    run = RUN_ID.fullmatch(given)
    if not run:
        raise InputError(
            f"{given}: no such folder; A and B have to be checkpoints, MLflow runs (32 hex digits) or folders of "
            "estimates"
        )
    from vocalremix.tracking.store import download_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        return Model(download_checkpoint(repository, run[1], Path(folder)), options)


def _default_name(given: str) -> str:
    run = RUN_ID.fullmatch(given)
    if run and not Path(given).exists():
        return f"run {run[1][:8]}"
    folders = Path(os.path.abspath(given)).parts[1:]  # symbolic links keep their names
    return next((name for name in reversed(folders) if name not in SAYS_NOTHING), given)


def _distinct(names: tuple[str, str], given: tuple[str, str]) -> tuple[str, str]:
    """Names that tell A from B."""
    if names[0] != names[1]:
        return names
    return given if given[0] != given[1] else (f"{names[0]} (A)", f"{names[1]} (B)")


def choose_sad(systems: Sequence[System], names: Sequence[str]) -> tuple[Sad, list[str]]:
    """How to find salient windows: as A's checkpoint was trained, else as B's, else as the published index was made.

    Also says which of two was taken where the checkpoints disagree.
    """
    known = [(name, system.sad) for name, system in zip(names, systems, strict=True) if system.sad]
    if not known:
        return PUBLISHED_INDEX, []
    (name, sad), (other, others) = known[0], known[-1]
    if sad == others:
        return sad, []
    return sad, [f"windows of {_described(sad)}, as {name} was trained; {other} was trained on {_described(others)}"]


def _described(sad: Sad) -> str:
    return f"{sad.window_s:g} s every {sad.step_s:g} s, salient by the rule {sad.rule}"


def legend(sad: Sad) -> tuple[str, ...]:
    """How to read a comparison whose salient windows `sad` chose."""
    return (
        "Difference: B minus A, paired by song. Mixture: the input, taken for the estimate.",
        *(f"{protocol.metric}, {protocol.name}: {protocol.description}." for protocol in SONG_PROTOCOLS.values()),
        f"windows: mean over the windows of {_described(sad)}; cSDR as in thesis.",
        "Under sisec, the difference is the median of the songs' differences, not the difference of the medians.",
        "All averages are over the songs (windows) that both have a score for. NaN counts the others: the reference or "
        "an estimate is silent there (under sisec also the accompaniment).",
        f"Interval: 95 %, had the songs been others. BCa bootstrap over songs; below {FEWEST_SONGS_TO_DRAW} songs "
        "Student's t, all windows of a song together.",
        "p: two-sided, one value per song, not adjusted for the number of rows: choose the metric before looking.",
        "Cohen's d: the songs' mean difference over the std of their differences.",
        "A verdict takes sides where p (under sisec, Wilcoxon's) is below 0.05 and the interval leaves zero out.",
        "Two checkpoints were compared, or two sets of estimates; what another seed would give is another question.",
    )


def assess(songs: pd.DataFrame, windows: pd.DataFrame, names: tuple[str, str]) -> tuple[list[Row], list[Verdict]]:
    """A row and a verdict for each metric and protocol, uSDR over songs first.

    Both tables have a column song, side ("mixture", "A" or "B") and the scores of their protocols in dB; `windows`
    also start_sample.
    """
    rows: list[Row] = []
    verdicts = []
    for scores, protocols, unit in (
        (songs, {HEADLINE: SONG_PROTOCOLS[HEADLINE], **SONG_PROTOCOLS}, ["song"]),
        (windows, WINDOW_PROTOCOLS, ["song", "start_sample"]),
    ):
        for column, protocol in protocols.items():
            sides = scores.pivot(index=unit, columns="side", values=column).reindex(columns=SIDES)
            differences = _differences(sides)
            effect = _effect(protocol, differences) if len(differences) else None
            compared = sides.loc[differences.index]
            rows.append(
                {"metric": protocol.metric, "protocol": protocol.name, "unit": protocol.unit}
                | {side: _average(protocol, compared[side]) for side in SIDES}
                | _tested(effect, differences)
                | {"n_windows": len(differences) if protocols is WINDOW_PROTOCOLS else None}
                | {"n_nan": len(sides) - len(differences)}
            )
            verdicts.append(_verdict(f"{protocol.metric} ({protocol.name})", effect, differences, names))
    return rows, verdicts


def _differences(sides: pd.DataFrame) -> "pd.Series[float]":
    """B minus A wherever both have a score; two infinite ones do not differ."""
    differences = (sides["B"] - sides["A"]).mask(sides["A"] == sides["B"], 0.0)
    return differences.dropna()


def _effect(protocol: metrics.Protocol, differences: "pd.Series[float]") -> Effect:
    """The effect over songs, its size and interval by the protocol's own average."""
    effect = paired_effect(differences.groupby(level="song").mean())
    effect = replace(effect, difference=_average(protocol, differences), unit=protocol.unit)
    songs = differences.index.get_level_values("song")
    if protocol.average is not np.median:
        return replace(effect, confidence_interval=song_interval(differences, songs))
    # neither t nor its power speak of medians
    interval = song_interval(differences, songs, "median")
    method = "" if math.isnan(interval.low) else effect.method
    return replace(effect, adjusted_p=effect.wilcoxon_p_value, spread=None, method=method, confidence_interval=interval)


def _average(protocol: metrics.Protocol, scores: "pd.Series[float]") -> float:
    values: Float64 = np.asarray(scores.dropna(), np.float64)
    with np.errstate(invalid="ignore"):  # +inf and -inf have no mean
        return float(protocol.average(values)) if len(values) else UNKNOWN


def _tested(effect: Effect | None, differences: "pd.Series[float]") -> dict[str, Value]:
    columns = ("difference", "low", "high", "interval", "paired_p", "wilcoxon_p", "cohens_d", "n_songs")
    if effect is None:
        return dict.fromkeys(columns) | {"interval": "none: nothing to compare", "n_songs": 0}
    values: tuple[Value, ...] = (
        effect.difference,
        *effect.confidence_interval,
        effect.method or f"none: {_why_no_interval(effect, differences)}",
        effect.p_value,
        effect.wilcoxon_p_value,
        effect.cohens_d,
        effect.n_songs,
    )
    return dict(zip(columns, values, strict=True))


def _why_no_interval(effect: Effect, differences: "pd.Series[float]") -> str:
    if not np.isfinite(differences).all():
        return "infinite scores"
    return "one song only" if effect.n_songs < 2 else f"a median needs {FEWEST_SONGS_TO_DRAW} songs"


def _verdict(metric: str, effect: Effect | None, differences: "pd.Series[float]", names: tuple[str, str]) -> Verdict:
    a, b = names
    if effect is None:
        return Verdict(f"Cannot tell {b} from {a} by {metric}: nothing has a score from both.", "unknown")
    if not differences.any():
        songs = counted(effect.n_songs, "song")
        return Verdict(f"Cannot tell {b} from {a} by {metric}: both have the same in each of {songs}.", "unknown")
    sentence = verdict(effect, f"{b}, against {a},", metric)
    if not effect.method:
        sentence = sentence.replace("no interval", f"no interval ({_why_no_interval(effect, differences)})")
    return Verdict(sentence, effect.direction)


def _excerpt(
    song: str, reference: Waveform, heard: Iterable[tuple[str, Waveform]], starts: Sequence[int], window_samples: int
) -> Excerpt:
    """Mixture, reference, A and B in the salient window where the reference is loudest, or in any without such."""
    start = loudest_window(reference, starts, window_samples)
    span = slice(start, start + window_samples)
    # copies, as views would keep the whole songs in memory
    target = reference[:, span].copy()
    mixture, *both = (
        Track(
            name,
            waveform[:, span].copy(),
            WINDOW_PROTOCOLS["usdr_db"].score(Case(waveform[:, span], target, waveform[:, span])),
        )
        for name, waveform in heard
    )
    return Excerpt(song, "", "", start / SAMPLE_RATE, (mixture, Track("reference", target, None), *both))


def _choose(excerpts: Mapping[str, Excerpt], songs: pd.DataFrame, names: tuple[str, str]) -> list[Excerpt]:
    """Those of the songs where B gains most, median and least, with the reason."""
    usdr_db = songs.pivot(index="song", columns="side", values="usdr_db")
    return [
        replace(
            excerpts[song],
            rule=rule,
            detail=f"whole-song uSDR {usdr_db.A[song]:.2f} dB {names[0]}, {usdr_db.B[song]:.2f} dB {names[1]}",
        )
        for song, rule in songs_by_gain(usdr_db.B - usdr_db.A).items()
    ]
