"""Quality of generated digits beside real test clips: recognition, noise, harmonics, diversity, copying.

python benchmarks/bundled_quality.py CLIPS [CLIPS ...] --archive fsdd.tar.gz

CLIPS is a folder of WAVs named like `00003_digit7.wav`, or an .npz whose arrays come in pairs `name (N, L)`
(int16 or float, 8 kHz) and `name_digit (N,)`. Each set is a column beside FSDD's own test and validation clips.
With praat-parselmouth installed, Praat's harmonicity is a row too.
"""

import argparse
import importlib.util
import io
import re
import sys
import tarfile
from pathlib import Path

import librosa
import mfcc_classifier
import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from configs.digits import get_config
from diffwave_jax.data.audio import fit, to_float
from diffwave_jax.digits import DIGITS
from diffwave_jax.evaluation import metrics, quality
from diffwave_jax.evaluation.recognition import load_recogniser

RATE = 8000
LENGTH = 5120
EQUAL_COUNT = 100
"""Clips a set for the Frechet distance, which depends on how many there are."""
BANDS = {"0 to 700 Hz": (0, 700), "1 to 2 kHz": (1000, 2000), "2 to 3.9 kHz": (2000, 3900)}
TONES = (0, 2000, 4000)
"""Multiples of the rate of the network's second stage, which its last layers may leave in the silence."""


def main():
    """Print the table."""
    arguments = parse_arguments()
    splits = read_fsdd(arguments.archive)
    reference = Reference(splits["train"], splits["test"])
    rows = {
        "real test": reference.measure(splits["test"]),
        "real validation": reference.measure(splits["validation"]),
    }
    rows["real test, prepared"] = reference.measure(prepare(splits["test"]))
    for path in arguments.clips:
        rows |= {name: reference.measure(clips) for name, clips in read_clips(Path(path)).items()}
    print_table(rows)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", help="folders of WAVs or .npz files")
    parser.add_argument("--archive", required=True, help="the FSDD archive, fsdd.tar.gz")
    return parser.parse_args()


class Reference:
    """What clips are measured against: training clips for classes and copies, test clips for the rest."""

    def __init__(self, train, test):
        audio, digits = as_arrays(train)
        self.recogniser = load_recogniser()
        self.second = mfcc_classifier.train(audio, digits, RATE)
        self.train_images = images(audio)
        audio, digits = as_arrays(test)
        self.test_features = self.features(audio)
        self.test_mfcc = self.mfcc(audio)
        self.test_mfcc_diversity = metrics.within_class_diversity(self.test_mfcc, digits)
        self.test_diversity = metrics.within_class_diversity(images(audio), digits)

    def features(self, audio):
        """The bundled classifier's."""
        return self.recogniser(self.recogniser.fit(audio, RATE)).features

    def mfcc(self, audio):
        """Standardised MFCC statistics."""
        return self.second[0].transform(mfcc_classifier.mfcc_features(audio, RATE))

    def measure(self, clips):
        """All measures of one set of pairs of clip and digit, by name."""
        audio, digits = as_arrays(clips)
        return self.recognition(audio, digits) | self.sound(clips) | self.distribution(audio, digits)

    def recognition(self, audio, digits):
        """How many clips are heard as the digit asked for."""
        heard = self.recogniser(self.recogniser.fit(audio, RATE))
        right = heard.logits.argmax(axis=1) == digits
        second = mfcc_classifier.recognise(self.second, audio, RATE) == digits
        return {
            "clips": len(audio),
            "heard as asked, bundled classifier, %": 100 * right.mean(),
            "  the worst digit, %": 100 * min(right[digits == digit].mean() for digit in np.unique(digits)),
            "  mean probability of the digit, %": 100 * heard.probabilities[np.arange(len(digits)), digits].mean(),
            "heard as asked, MFCC classifier, %": 100 * second.mean(),
            "  the worst digit by it, %": 100 * min(second[digits == digit].mean() for digit in np.unique(digits)),
        }

    def sound(self, clips):
        """Noise, harmonics and spectrum of the clips at their own lengths."""
        audio = [clip[None] for clip, _ in clips]
        ratio, voiced = harmonics(audio)
        bands = {name: [quality.band(clip, RATE, *edges) for clip in audio] for name, edges in BANDS.items()}
        return {
            "noise floor, dB": median(quality.noise_floor, audio),
            "harmonics-to-noise ratio, dB": ratio,
            **{f"  from {name}": harmonics(clips)[0] for name, clips in bands.items()},
            "voiced part of the sound, %": 100 * voiced,
            **praat(audio),
            "level above 2 kHz, dB": median(quality.level_above, audio, 2000),
            **{f"tone in silence, {tone} Hz, dB": median(quality.tone_in_silence, audio, tone) for tone in TONES},
        }

    def distribution(self, audio, digits):
        """Distance to the test clips, diversity, and distance to the training clips."""
        pictures = images(audio)
        some = equal_share(digits)
        nearest = metrics.nearest_distance(pictures, self.train_images) / np.sqrt(pictures.shape[1])
        return {
            f"Frechet distance of {EQUAL_COUNT}, classifier": metrics.frechet_distance(
                self.features(audio[some]), self.test_features
            ),
            f"Frechet distance of {EQUAL_COUNT}, MFCC": metrics.frechet_distance(
                self.mfcc(audio[some]), self.test_mfcc
            ),
            "diversity within a digit, % of test": 100
            * metrics.within_class_diversity(pictures, digits)
            / self.test_diversity,
            "the same of MFCC statistics, % of test": 100
            * metrics.within_class_diversity(self.mfcc(audio), digits)
            / self.test_mfcc_diversity,
            "nearest training clip, median, dB": np.median(nearest),
            "nearest training clip, lowest, dB": nearest.min(),
        }


def median(measure, clips, *arguments):
    """A measure's median over clips `(1, L)`, those left out of which it says nothing; NaN if those are all."""
    values = np.array([measure(clip, RATE, *arguments)[0] for clip in clips])
    known = values[~np.isnan(values)]
    return np.median(known) if known.size else np.nan


def harmonics(clips):
    """The median harmonics-to-noise ratio of clips `(1, L)` in dB, and the voiced fraction of their sound."""
    ratios, voiced = zip(*[quality.harmonics_to_noise_ratio(clip, RATE) for clip in clips], strict=True)
    return np.nanmedian(ratios), np.mean(voiced)


def praat(clips):
    """Praat's own harmonicity of the voiced frames, where praat-parselmouth is installed."""
    if not importlib.util.find_spec("parselmouth"):
        return {}
    import parselmouth  # pyright: ignore[reportMissingImports]: praat-parselmouth, which need not be there

    def harmonicity(clip, rate):
        values = parselmouth.Sound(clip[0].astype(np.float64), rate).to_harmonicity().values
        voiced = values[values != -200]  # its mark of a frame without a pitch
        return [voiced.mean() if voiced.size else np.nan]

    return {"harmonicity by Praat, dB": median(harmonicity, clips)}


def images(audio):
    """Flat log-mel images `(N, frames * mels)`."""
    return quality.log_mel_image(audio, RATE).reshape(len(audio), -1)


def equal_share(digits):
    """Rows of EQUAL_COUNT clips, as many of each digit."""
    shuffled = np.random.default_rng(0).permutation(len(digits))
    return np.concatenate([shuffled[digits[shuffled] == digit][: EQUAL_COUNT // 10] for digit in range(10)])


def prepare(clips):
    """The clips as the bundled model's training sees them: trimmed, levelled, faded and padded."""
    spec = get_config().data
    return [(to_float(fit(audio, spec)[0]), digit) for audio, digit in clips]


def as_arrays(clips):
    """Pairs of clip and digit as arrays `(N, LENGTH)`, cut or padded with zeros at the end, and `(N,)`."""
    audio, digits = zip(*clips, strict=True)
    return np.stack([librosa.util.fix_length(clip, size=LENGTH) for clip in audio]), np.array(digits)


def read_fsdd(path):
    """`{split: [(clip, digit), ...]}` of an archive in Speech Commands' layout."""
    files = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if file := archive.extractfile(member):
                files[member.name.removeprefix("./")] = file.read()
    test, validation = (set(files[f"{kind}_list.txt"].decode().split()) for kind in ("testing", "validation"))
    splits = {"train": [], "validation": [], "test": []}
    for name in sorted(name for name in files if name.endswith(".wav")):
        split = "test" if name in test else "validation" if name in validation else "train"
        audio, _ = soundfile.read(io.BytesIO(files[name]), dtype="float32")
        splits[split].append((audio, DIGITS.index(name.split("/")[0])))
    return splits


def read_clips(path):
    """`{set's name: [(clip, digit), ...]}` of a folder of WAVs or of an .npz file."""
    if path.is_dir():
        found = [(name, re.search(r"_digit(\d)", name.name)) for name in sorted(path.glob("*.wav"))]
        return {path.name: [(librosa.load(name, sr=RATE)[0], int(digit[1])) for name, digit in found if digit]}
    arrays = np.load(path)
    sets = [name for name in arrays if f"{name}_digit" in arrays]
    return {name: list(zip(as_float(arrays[name]), arrays[f"{name}_digit"], strict=True)) for name in sets}


def as_float(audio):
    """PCM16 as float32 in [-1, 1]; float audio as it is."""
    return audio.astype(np.float32) / (32768 if audio.dtype == np.int16 else 1)


def print_table(rows):
    """One line a measure, one column a set."""
    width = max(map(len, rows))
    print(" " * 40 + "  ".join(name.rjust(width) for name in rows))
    for measure in next(iter(rows.values())):
        print(measure.ljust(40) + "  ".join(f"{row[measure]:{width}.2f}" for row in rows.values()))


if __name__ == "__main__":
    main()
