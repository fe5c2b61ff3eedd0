"""What the headers and the samples of a song tell."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vocalremix.audio.reading import Header, read_blocks, read_header
from vocalremix.audio.waveform import Waveform, resampled_length
from vocalremix.check.findings import Finding, Severity, SongFiles
from vocalremix.check.levels import BLOCK_HOPS, FULL_SCALE, SILENT_PEAK, Levels, SalientWindows, hop_samples
from vocalremix.check.official import MIXTURE_ERRATA
from vocalremix.check.tree import MIXTURE
from vocalremix.corpus.folder import MIXTURE_TOLERANCE_DB
from vocalremix.util.errors import InputError, counted
from vocalremix.util.values import SAMPLE_RATE, STEMS

# A loud master touches full scale for some samples; 1 % of all, or 5 ms on end, is a broken export.
HEAVY_SHARE, HEAVY_S = 0.01, 0.005
# below this level, flat tops are rather a synthesiser's square wave
CLIPPING_LEVEL = 0.89
FLAT_SHARE = 0.001
OFFSET = 0.01
# Beyond the rounding of 16 bits, a mixture that other gains of the stems explain 10 dB better was mixed otherwise.
ROUNDING_DB, EXPLAINED_DB, GAIN_TOLERANCE = -60.0, 10.0, 0.1
IDENTICAL = 0.9999

Products = npt.NDArray[np.float64]


@dataclass
class SongFacts:
    """What was read of one song; envelopes, windows and mixture are there only where samples were read."""

    song: SongFiles
    findings: list[Finding] = field(default_factory=list)
    headers: dict[str, Header] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    """Samples per channel of each file that is whole."""
    envelopes: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Of each stem that is whole and audible, as `Levels.envelope` gives it."""
    salient_windows: int | None = None
    mixture_db: float | None = None
    """Energy of mixture minus sum of stems, relative to the mixture's; -inf where they are equal."""

    def duration_s(self) -> float:
        """The longest file's; 0 where no length is known."""
        return max((n_samples / self.headers[name].sample_rate for name, n_samples in self.lengths.items()), default=0)


def examine(song: SongFiles, quick: bool) -> SongFacts:
    """Read all headers of a song, and unless `quick` all samples; no fault in them raises."""
    facts = SongFacts(song)
    for name, path in song.files.items():
        try:
            header = read_header(path)
        except InputError as error:
            facts.findings.append(_unreadable(song, name, error))
            continue
        facts.headers[name] = header
        if quick and header.n_samples is not None:
            facts.lengths[name] = header.n_samples
    if not quick:
        _listen(facts)
    facts.findings += _check_lengths(facts)
    return facts


def _listen(facts: SongFacts) -> None:
    """Read all files of a song side by side, a block at a time."""
    song, names = facts.song, tuple(facts.headers)
    levels = {name: Levels(header.channels, header.sample_rate) for name, header in facts.headers.items()}
    streams = {
        name: read_blocks(song.files[name], BLOCK_HOPS * hop_samples(header.sample_rate), header=header)
        for name, header in facts.headers.items()
    }
    windows = SalientWindows(facts.headers["vocals"].sample_rate) if "vocals" in names else None
    products = np.zeros((len(names), len(names)))
    while streams:
        blocks: dict[str, Waveform] = {}
        for name in tuple(streams):
            try:
                blocks[name] = levels[name].add(next(streams[name]))
            except StopIteration:
                del streams[name]
                facts.lengths[name] = levels[name].n_samples
            except InputError as error:
                del streams[name]
                facts.findings.append(_unreadable(song, name, error))
        if windows and "vocals" in blocks:
            windows.add(blocks["vocals"])
        if len(blocks) == len(names) and len({block.shape for block in blocks.values()}) == 1:
            # float64, for the difference of nearly equal sums
            side_by_side = np.stack([blocks[name].ravel() for name in names]).astype(np.float64)
            products += side_by_side @ side_by_side.T
    if windows and "vocals" in facts.lengths:
        facts.salient_windows = windows.count
    for name in names:
        facts.findings += _check_levels(facts, name, levels[name])
        if name in facts.lengths and name != MIXTURE and levels[name].peaks.max() > SILENT_PEAK:
            facts.envelopes[name] = levels[name].envelope()
    if facts.lengths.keys() >= {*STEMS}:
        if not facts.envelopes:
            facts.findings.append(song.finding(song.folder, "silent", 0, "all stems are silent"))
        if MIXTURE in facts.lengths:
            facts.findings += _check_mixture(facts, names, products)
    facts.findings += _check_stems_differ(facts, names, products)


def _unreadable(song: SongFiles, name: str, error: InputError) -> Finding:
    detail = str(error).removeprefix(f"{song.files[name]}: ")
    return song.finding(song.files[name], "truncated" if "truncated" in detail else "unreadable", None, detail)


def _check_lengths(facts: SongFacts) -> Iterator[Finding]:
    lengths = {
        name: resampled_length(n_samples, facts.headers[name].sample_rate, SAMPLE_RATE)
        for name, n_samples in facts.lengths.items()
    }
    counts = Counter(lengths.values())
    usual = max(sorted(counts, reverse=True), key=counts.__getitem__, default=0)
    for name, length in lengths.items():
        if length != usual:
            seconds = abs(length - usual) / SAMPLE_RATE
            detail = f"{seconds:.3f} s {'shorter' if length < usual else 'longer'} than the song's others: "
            detail += f"{length} instead of {usual} samples at {SAMPLE_RATE} Hz"
            yield facts.song.finding(facts.song.files[name], "unequal length", length - usual, detail)


def _check_levels(facts: SongFacts, name: str, levels: Levels) -> Iterator[Finding]:
    song, path, peak = facts.song, facts.song.files[name], float(levels.peaks.max())
    if levels.n_not_finite:
        detail = f"{counted(levels.n_not_finite, 'value')} NaN or infinite, first at sample {levels.first_not_finite}"
        yield song.finding(path, "not finite", levels.n_not_finite, detail)
    if levels.n_samples and peak <= SILENT_PEAK:
        detail = f"peak {20 * math.log10(peak):.0f} dBFS" if peak else "every sample is 0"
        yield song.finding(path, "silent", peak, detail, "warning")
        return
    if levels.peaks.min() == 0 < peak:
        detail = f"channel {int(levels.peaks.argmin()) + 1} is 0 throughout"
        yield song.finding(path, "silent channel", 0, detail, "warning")
    if levels.offset() > OFFSET:
        yield song.finding(path, "DC offset", levels.offset(), f"mean {levels.offset():.3f} of full scale", "warning")
    level, n_flat, longest = levels.flat_tops()
    share = n_flat / max(1, levels.n_samples * len(levels.peaks))
    is_heavy = share >= HEAVY_SHARE or longest >= HEAVY_S * facts.headers[name].sample_rate
    if n_flat and (level >= FULL_SCALE or is_heavy or share >= FLAT_SHARE):
        detail = f"{counted(n_flat, 'sample')} ({100 * share:.2g} %) in runs at {20 * math.log10(level):.1f} dBFS, "
        detail += f"the longest of {longest}" + (f"; peak {peak:.3g}" if peak > 1 else "")
        is_broken = is_heavy and level >= CLIPPING_LEVEL and name != MIXTURE
        yield song.finding(path, "clipped", share, detail, "error" if is_broken else "warning")


def _check_mixture(facts: SongFacts, names: Sequence[str], products: Products) -> Iterator[Finding]:
    """Compare the mixture with the sum of its stems, by the inner products of all (`names` x `names`)."""
    song, mixture = facts.song, names.index(MIXTURE)
    signs = np.where(np.arange(len(names)) == mixture, 1.0, -1.0)
    power, residual = products[mixture, mixture], max(0.0, float(signs @ products @ signs))
    if power == 0:
        if residual > 0:
            yield song.finding(song.files[MIXTURE], "mixture", None, "silent, but its stems are not")
        return
    facts.mixture_db = 10 * math.log10(residual / power) if residual else -math.inf
    audible = [index for index, name in enumerate(names) if name in facts.envelopes]
    gains = np.linalg.lstsq(products[np.ix_(audible, audible)], products[audible, mixture], rcond=1e-9)[0]
    unexplained = max(0.0, power - gains @ products[audible, mixture])
    is_explained = residual > unexplained * 10 ** (EXPLAINED_DB / 10) and (np.abs(gains - 1) > GAIN_TOLERANCE).any()
    if facts.mixture_db > MIXTURE_TOLERANCE_DB or (is_explained and facts.mixture_db > ROUNDING_DB):
        detail = f"mixture minus sum of stems is at {facts.mixture_db:.1f} dB of the mixture"
        if is_explained:
            detail += f"; {_explain(dict(zip([names[index] for index in audible], gains.tolist(), strict=True)))}"
        severity: Severity = "error"
        if song.name in MIXTURE_ERRATA:
            detail, severity = f"{detail}; MUSDB18's errata name it", "warning"
        yield song.finding(song.files[MIXTURE], "mixture", facts.mixture_db, detail, severity)


def _explain(gains: dict[str, float]) -> str:
    """The gains of the stems that make the mixture, in words."""
    if len(gains) > 1 and max(gains.values()) - min(gains.values()) < GAIN_TOLERANCE:
        return f"it is their sum {_gain(sum(gains.values()) / len(gains))}"
    off = {name: gain for name, gain in gains.items() if abs(gain - 1) > GAIN_TOLERANCE}
    return "it has " + ", ".join(f"{name} {_gain(gain)}" for name, gain in off.items())


def _gain(gain: float) -> str:
    if abs(gain) < GAIN_TOLERANCE / 2:
        return "left out"
    level = f"at {20 * math.log10(abs(gain)):+.1f} dB" if abs(abs(gain) - 1) > GAIN_TOLERANCE / 2 else ""
    return " and ".join(filter(None, ("inverted" if gain < 0 else "", level)))


def _check_stems_differ(facts: SongFacts, names: Sequence[str], products: Products) -> Iterator[Finding]:
    for first, second in itertools.combinations([name for name in names if name in facts.envelopes], 2):
        a, b = names.index(first), names.index(second)
        norm = math.sqrt(products[a, a] * products[b, b])
        if norm and abs(products[a, b]) > IDENTICAL * norm:
            path = facts.song.files[second]
            yield facts.song.finding(path, "duplicate", products[a, b] / norm, f"the same recording as {first}")
