"""What is asked for, what a model usually does, and what it cannot do."""

import dataclasses
import math

import numpy as np
import pytest

from configs import digits, sashimi, small
from diffwave_jax.config import from_dict, to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.generation.settings import Settings
from tests.helpers.tiny import tiny_generator

PLAIN = Settings(sampler="dpm++", steps=25)


def config(n_classes: int = 10, n_speakers: int = 3, **sample):
    found = tiny_generator(n_classes=n_classes, n_speakers=n_speakers).config
    found.sample.update(sample)
    return found


def asked(found, **what) -> Settings:
    return Settings.for_model(found, **what)


def test_a_model_that_says_nothing_takes_25_steps_of_dpm():
    assert asked(config()) == PLAIN
    assert asked(from_dict(to_dict(small.get_config()))) == PLAIN
    assert asked(config(n_classes=0, n_speakers=0), seed=4) == dataclasses.replace(PLAIN, seed=4)


def test_a_model_that_says_how_is_taken_at_its_word():
    assert asked(digits.get_config()) == Settings(
        sampler="dpm++sde",
        steps=25,
        noise_scale=0.85,
        digit=tuple(range(10)),
        guidance=1.75,
        guided_steps=(20, 199),
        guide_memory=0.2,
        early=(116, 2.5, 0.97),
    )
    assert asked(sashimi.get_config()) == Settings(sampler="ddpm", steps=200)
    older = sashimi.get_config()  # as conversions and configs wrote it before
    older.sample.update(sampler="ddpm", steps=200)
    assert asked(from_dict(to_dict(older))) == Settings(sampler="ddpm", steps=200)


def test_another_sampler_has_its_own_usual_steps_and_noise():
    usual = config(sampler="dpm++sde", steps=7, eta=0.5, noise_scale=0.9)

    def chain(**what):
        found = asked(usual, **what)
        return found.sampler, found.steps, found.eta, found.noise_scale

    assert chain() == chain(sampler="dpm++sde") == ("dpm++sde", 7, 0.5, 0.9)
    assert chain(steps=3) == ("dpm++sde", 3, 0.5, 0.9)
    assert chain(sampler="ddpm") == ("ddpm", 200, None, 1.0)
    assert chain(sampler="ddim") == ("ddim", 50, None, 1.0)
    assert chain(sampler="fast") == ("fast", 6, None, 1.0)
    assert chain(eta=0.0) == ("dpm++sde", 7, 0.0, 1.0)
    assert chain(noise_scale=0.8) == ("dpm++sde", 7, 0.5, 0.8)
    assert chain(start=10) == ("dpm++sde", 11, None, 1.0)
    assert chain(start=10, sampler="ddpm") == ("ddpm", 11, None, 1.0)
    assert chain(start=150, sampler="ddim") == ("ddim", 50, None, 1.0)


def test_levels_stand_for_a_number_of_steps():
    usual = config(sampler="ddim", levels=(199, 90, 20), polish=60)

    def chain(**what):
        found = asked(usual, **what)
        return found.sampler, found.steps, found.levels, found.polish

    assert chain() == ("ddim", 3, (199, 90, 20), 60)
    assert chain(levels=(150, 30)) == ("ddim", 2, (150, 30), 60)
    assert chain(steps=3) == chain()
    assert chain(steps=7, polish=40) == ("ddim", 7, (), 40)
    assert chain(sampler="dpm++") == ("dpm++", 25, (), 60)
    assert chain(start=50) == ("ddim", 50, (), None)
    record = asked(usual, digit=1).on_record(0, usual)
    assert record.items() >= {"steps": 3, "levels": [199, 90, 20], "polish": 60}.items()
    assert not {"levels", "polish"} & asked(config(), digit=1).on_record(0, usual).keys()


def test_a_distilled_model_knows_its_own_levels_only():
    found = config(sampler="ddim", levels=(199, 90, 20), distilled=True, guidance=1.0, digit=(1,))
    asked(found).check(found)
    asked(found, digit=2, eta=0.2, start=90).check(found)
    assert asked(found, steps=3) == asked(found)
    assert asked(found, start=90).levels == (90, 20)
    wrong = ({"steps": 5}, {"levels": (199, 20)}, {"sampler": "dpm++"}, {"guidance": 2.0}, {"polish": 60}, {"start": 9})
    wrong += ({"guide_memory": 0.1},)
    for what in wrong:
        with pytest.raises(
            UserError, match="distilled to the levels 199,90,20 of ddim, its guidance inside, and knows no others"
        ):
            asked(found, **what).check(found)


def test_usual_digits_and_guidance_and_none_of_them():
    usual = config(digit=(4, 5), speaker=("speaker1",), guidance=3.0, guided_steps=(20, 150))

    def wanted(**what):
        found = asked(usual, **what)
        return found.digit, found.speaker, found.guidance

    assert wanted() == ((4, 5), (1,), 3.0)
    assert wanted(digit=7) == ((7,), (1,), 3.0)
    assert wanted(speaker=()) == ((4, 5), (), 3.0)
    assert wanted(digit=()) == wanted(start=25) == ((), (), 1.0)  # nobody knows what a recording says
    assert wanted(start=25, digit=2) == ((2,), (1,), 3.0)
    assert asked(usual).guided_steps == (20, 150) and asked(usual, guided_steps=()).guided_steps is None


def test_the_usual_memory_of_a_guide():
    usual = config(digit=(4, 5), guidance=3.0, guide_memory=0.1)
    assert asked(usual).guide_memory == 0.1 and asked(usual, guide_memory=0).guide_memory == 0
    without = asked(usual, guidance=1)
    without.check(usual)
    assert without.guide_memory == 0
    assert asked(usual, start=25).guide_memory == 0 and asked(usual, start=25).guidance == 1
    assert (asked(usual, digit=()).guidance, asked(usual, digit=()).guide_memory) == (3.0, 0.1)


def test_the_usual_early_steps_go_with_the_usual_guidance_and_noise():
    usual = config(
        sampler="dpm++sde", digit=(4, 5), guidance=2.0, guide_memory=0.1, noise_scale=0.9, early=(116, 3.5, 1)
    )
    assert asked(usual).early == asked(usual, guidance=2.0, noise_scale=0.9, digit=7).early == (116, 3.5, 1)
    others = {"guidance": 3.0, "noise_scale": 1, "sampler": "ddim", "start": 25, "eta": 0.5, "early": ()}
    for name, value in others.items():
        assert asked(usual, **{name: value}).early is None
    sashimi = tiny_generator("sashimi", n_classes=10).config
    late = {"digit": (4, 5), "guidance": 2.0, "guide_memory": 0.1, "early": (116, 1, 1)}
    asked(sashimi, **late).check(sashimi)  # guided below step 116 alone
    assert asked(usual, digit=(), guide_memory=0).early is None  # then nothing is guided
    assert asked(usual, guidance=3.0, early=(50, 4, 1)).early == (50, 4, 1)


@pytest.mark.parametrize(
    ("digit", "expected"),
    [
        (7, (7,)),
        ("seven", (7,)),
        ("7", (7,)),
        (np.int64(7), (7,)),
        (["three", 1, "0"], (3, 1, 0)),
        (range(3), (0, 1, 2)),
        (np.array([1, 2]), (1, 2)),
    ],
)
def test_digits_by_number_and_by_name(digit, expected):
    found = asked(config(), digit=digit, speaker=("speaker2", 0))
    assert found.digit == expected and found.speaker == (2, 0)
    assert all(type(number) is int for number in found.digit + found.speaker)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"digit": "sevn"}, "digit is 'sevn'; this model has the classes zero, one, two, .*nine, by number 0 to 9"),
        ({"digit": 1.5}, r"digit is 1\.5; this model has the classes"),
        ({"digit": {1}}, r"digit is \{1\}; this model has the classes"),
        (
            {"digit": 1, "speaker": "bob"},
            "speaker is 'bob'; this model has the speakers speaker0, speaker1, speaker2, by",
        ),
        ({"seed": 1.5}, r"seed is 1\.5; give a whole number"),
        ({"steps": "many"}, "steps is 'many'; give a whole number"),
        ({"guidance": "much"}, "guidance is 'much'; give a number"),
        ({"guided_steps": 5}, "guided_steps is 5; give the lowest and the highest step"),
        ({"guided_steps": (5, 6, 7)}, "give the lowest and the highest step"),
        ({"sampler": "euler"}, "unknown sampler 'euler'"),
        ({"levels": (199, 1.5)}, r"a level is 1\.5; give a whole number"),
        ({"polish": "much"}, "polish is 'much'; give a whole number"),
        ({"match": "much"}, "match is 'much'; give a whole number"),
        ({"guide_memory": "much"}, "guide_memory is 'much'; give a number"),
        ({"early": (116, 4)}, r"early is \(116, 4\); give a diffusion step, guidance and a noise scale, or nothing"),
        ({"early": 116}, "early is 116; give a diffusion step"),
        ({"early": (116, "much", 1)}, "a value of early is 'much'; give a number"),
    ],
)
def test_what_no_model_understands(what, message):
    with pytest.raises(UserError, match=message):
        asked(config(), **what)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"digit": (10,)}, "digit is 10; this model has the classes zero"),
        ({"digit": (-1,)}, "digit is -1; this model has the classes zero"),
        ({"digit": (1,), "speaker": (3,)}, "speaker is 3; this model has the speakers speaker0"),
        ({"speaker": (1,)}, "a speaker is asked for, but no digit"),
        ({"guidance": 2.0}, "no digit is asked for"),
        ({"match": 3}, "match is 3; it is the number of a vocoder's rounds"),
        ({"match": -1}, "match is -1; it is the number of a vocoder's rounds"),
        ({"guide_memory": -0.1, "guidance": 2.0}, "guide_memory is -0.1; give seconds above 0"),
        ({"guide_memory": math.nan, "guidance": 2.0}, "guide_memory is nan; give seconds above 0"),
        ({"guide_memory": 0.1}, "guide_memory is 0.1, but guidance is 1: give a scale above 1"),
        ({"guide_memory": 0.1, "guidance": 2.0}, "guide_memory shortens what a SaShiMi's S4 layers hear"),
        ({"guided_steps": (9, 5), "digit": (1,)}, "give the lowest step first"),
        ({"early": (116, math.inf, 1), "digit": (1,)}, "guidance is inf; give a number"),
        ({"early": (116, 4.0, 1)}, "guidance is 4.0, but no digit is asked for"),
        ({"levels": (199, 20)}, "steps is 25, but 2 levels are given; leave steps out"),
        ({"seed": 2**32}, "seed is 4294967296; it must be between 0 and 4294967295"),
    ],
)
def test_what_this_model_cannot_do(settings, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(PLAIN, **settings).check(config())


def test_an_unconditional_model_knows_no_names():
    with pytest.raises(UserError, match="digit is 'seven'; this model has no classes to choose from"):
        asked(config(n_classes=0, n_speakers=0), digit="seven")
    unnamed = config(n_classes=3, n_speakers=0)  # data.classes names ten
    assert asked(unnamed, digit=2).digit == (2,)
    with pytest.raises(UserError, match="digit is 'two'; this model has the classes 0, 1, 2, by number 0 to 2"):
        asked(unnamed, digit="two")


def test_many_names_are_shortened():
    many = config(n_classes=100, n_speakers=0)
    many.data.classes = tuple(f"word{number}" for number in range(100))
    with pytest.raises(UserError, match=r"word29, \.\.\., by number 0 to 99$"):
        asked(many, digit="word")


def test_fields_are_named():
    with pytest.raises(TypeError):
        Settings("dpm++", 25)
    unknown = config()
    with unknown.unlocked():
        unknown.sample.guidence = 2.0
    with pytest.raises(UserError, match=r"unknown field 'guidence' in .* section; known are clamp, digit"):
        asked(unknown)
