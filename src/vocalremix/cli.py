"""The command `vocalremix` and its subcommands; what is slow to import is imported by the one that needs it."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vocalremix.util.errors import InputError, one_line_errors


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; a mistake in the input ends with one line on stderr and exit code 2."""
    # so that a terminated run removes its unfinished output on the way out, as an interrupted one does
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _parser().parse_args(arguments)
    with one_line_errors():
        try:
            options.run(options)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vocalremix", description="Vocal extraction and the study behind it.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_separate, _add_compare, _add_check, _add_params):
        add(commands)
    return parser


def _add_separate(commands: Any) -> None:
    parser = commands.add_parser(
        "separate",
        help="split a song into target and accompaniment",
        description="Split a song into DIR/<song>/<target>.wav and DIR/<song>/accompaniment.wav, float WAV at the "
        "song's own sample rate; the two add up to the song. <song> is the file's name, or its folder's where it is "
        "called mixture, as in MUSDB18-HQ.",
    )
    parser.add_argument("song", type=Path, metavar="SONG", help="any audio file that libsndfile or ffmpeg reads")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", required=True, help="folder for the song's folder")
    parser.add_argument("--checkpoint", type=Path, metavar="C", required=True, help="a trained model's checkpoint")
    parser.add_argument("--replace", action="store_true", help="replace what an earlier run left for the song")
    _add_separator_options(parser)
    parser.set_defaults(run=_separate)


def _add_separator_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: a GPU where there is one)")
    parser.add_argument("--hop-s", type=float, metavar="S", help="seconds between chunks (default: about half a chunk)")
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="chunks at once (default: 8, on a CPU fewer of a large model)"
    )
    parser.add_argument(
        "--precision",
        choices=("32", "bf16"),
        default="32",
        help="bf16 is faster where the hardware has it (default: 32)",
    )


def _separator_options(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("device", "hop_s", "batch_size", "precision")}


def _separate(options: argparse.Namespace) -> None:
    from vocalremix.audio.reading import read_header
    from vocalremix.separation import Separator, separate_file
    from vocalremix.training.devices import keep_freed_memory
    from vocalremix.util.files import publish

    keep_freed_memory()
    read_header(options.song)
    separator = Separator.from_checkpoint(options.checkpoint, **_separator_options(options))
    folder = options.output / _name_of_song(options.song)
    outputs = [f"{separator.model.target}.wav", "accompaniment.wav"]
    if options.replace:
        _refuse_to_replace(folder, outputs, options.song)
    elif os.path.lexists(folder):
        raise InputError(f"{folder}: is there already; choose another folder with -o, or give --replace")
    with publish(folder, replace=options.replace) as partial:
        partial.mkdir()
        separate_file(separator, options.song, *(partial / name for name in outputs))
        _refuse_to_replace(folder, outputs, options.song)
    for name in outputs:
        print(folder / name)


def _name_of_song(song: Path) -> str:
    """The file's name without its suffix, or its folder's where it is called mixture; see also `require_part`."""
    from vocalremix.util.files import require_part

    song = Path(os.path.abspath(song))  # a link's own folder has the song's name
    name = song.parent.name if song.stem == "mixture" else song.stem
    # the stem of "...wav" is ".."
    return require_part(name if name.strip(".") else song.name, f"{song}: cannot name its results")


def _refuse_to_replace(folder: Path, outputs: Sequence[str], song: Path | None = None) -> None:
    """The folder is replaced as a whole, so it must hold nothing but an earlier result, and not the song.

    Once more when the new one is made: hours may have passed.
    """
    if folder.is_dir():
        kept = sorted({path.name for path in folder.iterdir()} - set(outputs))
        if song and folder.resolve() == song.resolve().parent:
            kept.append(song.name)
        if kept:
            raise InputError(f"{folder}: holds {kept[0]}, which would be lost; choose another folder with -o")
    elif folder.exists():
        raise InputError(f"{folder}: is a file; choose another folder with -o")


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare two systems on the same songs",
        description="Score A and B on the same songs and test the difference B minus A, paired by song. Each is a "
        "checkpoint folder, an MLflow run id (32 hex digits or runs:/ID), or a folder of estimates as Demucs, "
        "Open-Unmix, Spleeter, UVR, museval or vocalremix separate leave it. Prints the table and "
        "the verdicts, and writes to DIR: a page to read and to listen to (index.html, listening), the table "
        "(comparison.md, comparison.csv) and each song's scores (songs.csv).",
    )
    parser.add_argument("a", metavar="A", help="the system to compare with")
    parser.add_argument("b", metavar="B", help="the system of interest")
    parser.add_argument(
        "--songs",
        type=Path,
        metavar="DIR",
        help="folder of <song>/<stem>.wav or <part>/<song>/<stem>.wav, any format "
        "(default: data/<profile>/music of the params.yaml here)",
    )
    parser.add_argument("--part", metavar="P", help="train, valid or test (default: test, where the songs have parts)")
    parser.add_argument(
        "--target", metavar="T", help="vocals, drums, bass or other (default: the checkpoints', else vocals)"
    )
    parser.add_argument("--name-a", metavar="NAME", help="what to call A (default: from its path)")
    parser.add_argument("--name-b", metavar="NAME", help="what to call B (default: from its path)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", default=Path("comparison"), help="default: comparison"
    )
    _add_separator_options(parser)
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from vocalremix.report.comparison import OUTPUTS, compare, describe, write_comparison
    from vocalremix.training.devices import keep_freed_memory
    from vocalremix.util.files import publish

    keep_freed_memory()
    _refuse_to_replace(options.output, OUTPUTS)
    with publish(options.output) as partial:
        partial.mkdir()
        comparison = compare(
            options.a,
            options.b,
            options.songs or _music_here(),
            part=options.part,
            target=options.target,
            name_a=options.name_a,
            name_b=options.name_b,
            **_separator_options(options),
        )
        write_comparison(comparison, partial)
        _refuse_to_replace(options.output, OUTPUTS)
    print(describe(comparison))
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)
    for name in OUTPUTS:
        print(options.output / name)


def _music_here() -> Path:
    """The songs of the study in the current folder."""
    from vocalremix.config.params import load

    if not Path("params.yaml").is_file():
        raise InputError("no params.yaml here that would say which songs; name their folder with --songs")
    return Path("data") / load(Path()).params.profile / "music"


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="is a corpus of songs whole?",
        description="Look for everything that is wrong with a corpus: missing, unknown, damaged and unequal files, "
        "NaN and clipping, mixtures that are not the sum of their stems, copies of a song under another name or in "
        "another part, songs and salient windows that MUSDB18-HQ has otherwise. Prints one line for each finding. "
        "Exit code 1 where one is an error; warnings alone, such as silent stems, are 0.",
    )
    parser.add_argument(
        "songs",
        type=Path,
        metavar="DIR",
        help="folder of <song>/<stem>.wav or <part>/<song>/<stem>.wav, any format, with or without mixture.wav",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all findings and every song's numbers")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: half of the cores)")
    parser.add_argument("--quick", action="store_true", help="read names and headers only, no samples")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> None:
    import json

    from vocalremix.check import check, check_quick
    from vocalremix.util.files import publish

    if options.json and options.json.is_dir():
        raise InputError(f"{options.json}: is a folder; name a file with --json")
    inspection = (check_quick if options.quick else check)(options.songs, options.jobs)
    if options.json:
        text = json.dumps(inspection.as_dict(), indent=2, allow_nan=False) + "\n"
        with publish(options.json) as partial:
            partial.write_text(text, encoding="utf-8")
    print(inspection)
    if inspection.errors:
        sys.exit(1)


def _add_params(commands: Any) -> None:
    parser = commands.add_parser(
        "params",
        help="validate params.yaml and its profile",
        description="Validate params.yaml and the profile it names, as every stage does before it works.",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), metavar="DIR", help="default: here")
    parser.set_defaults(run=_params)


def _params(options: argparse.Namespace) -> None:
    from vocalremix.config.params import load

    print(f"params.yaml and profiles/{load(options.folder).params.profile}.yaml are valid")


if __name__ == "__main__":
    main()
