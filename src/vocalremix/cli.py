"""The command `vocalremix` and its subcommands; what is slow to import is imported by the one that needs it."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vocalremix.errors import InputError, one_line_errors


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
    for add in (_add_separate, _add_params):
        add(commands)
    return parser


def _add_separate(commands: Any) -> None:
    parser = commands.add_parser(
        "separate",
        help="split a song into target and accompaniment",
        description="Split a song into DIR/<song>/<target>.wav and DIR/<song>/accompaniment.wav, float WAV at the "
        "song's own sample rate; the two add up to the song.",
    )
    parser.add_argument("song", type=Path, metavar="SONG", help="any audio file that libsndfile or ffmpeg reads")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", required=True, help="folder for the song's folder")
    parser.add_argument("--checkpoint", type=Path, metavar="C", required=True, help="a trained model's checkpoint")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: a GPU where there is one)")
    parser.add_argument("--hop-s", type=float, metavar="S", help="seconds between chunks (default: half a chunk)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="chunks at once (default: 8)")
    parser.set_defaults(run=_separate)


def _separate(options: argparse.Namespace) -> None:
    import soundfile

    from vocalremix.audio import read
    from vocalremix.files import publish
    from vocalremix.separation import Separator, separate_recording

    waveform, sample_rate = read(options.song)
    separator = Separator.from_checkpoint(
        options.checkpoint, device=options.device, hop_s=options.hop_s, batch_size=options.batch_size
    )
    folder = options.output / options.song.stem
    outputs = [f"{separator.model.target}.wav", "accompaniment.wav"]
    _refuse_to_replace(folder, options.song, outputs)
    try:
        with publish(folder) as partial:
            partial.mkdir()
            target = separate_recording(separator, waveform, sample_rate, str(options.song), progress=True)
            for name, part in zip(outputs, (target, waveform - target), strict=True):
                soundfile.write(partial / name, part.T, sample_rate, subtype="FLOAT", format="WAV")
    except (OSError, soundfile.LibsndfileError) as error:
        raise InputError(f"{folder}: cannot be written: {error}") from error
    for name in outputs:
        print(folder / name)


def _refuse_to_replace(folder: Path, song: Path, outputs: Sequence[str]) -> None:
    """The song's folder is replaced as a whole, so it must hold nothing but an earlier result."""
    if folder.is_dir():
        others = sorted({path.name for path in folder.iterdir()} - set(outputs))
        if others or folder.resolve() == song.resolve().parent:
            kept = others[0] if others else song.name
            raise InputError(f"{folder}: holds {kept}, which would be lost; choose another folder with -o")
    elif folder.exists():
        raise InputError(f"{folder}: is a file; choose another folder with -o")


def _add_params(commands: Any) -> None:
    parser = commands.add_parser(
        "params",
        help="validate params.yaml and its profile",
        description="Validate params.yaml and the profile it names, as every stage does before it works.",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), metavar="DIR", help="default: here")
    parser.set_defaults(run=_params)


def _params(options: argparse.Namespace) -> None:
    from vocalremix.params import load

    print(f"params.yaml and profiles/{load(options.folder).params.profile}.yaml are valid")


if __name__ == "__main__":
    main()
