"""Distillation: any diffusion model of this project becomes one that takes few steps, here four.

    python train.py --config distill --config.teacher=RUN_OR_NAME [--config.distill.levels=4]

The network, the noise schedule and how clips are cut are the teacher's, so there are no such fields to set.
"""

from ml_collections import ConfigDict

from diffwave_jax.config import default_config


def get_config():
    """The config without what comes from the teacher: `diffwave_jax.training.teacher.with_teacher` fills it in."""
    config = default_config()
    del config.diffusion, config.mel, config.sample
    config.data = ConfigDict({"source": "", "archive": "", "data_dir": ""})  # a vocoder's, where not its teacher's own
    config.teacher = "digits"
    config.train.task = "distillation"
    config.train.num_steps = 750
    config.train.batch_size = 4  # clips, each of them at every level
    config.train.learning_rate = 5e-4
    config.train.warmup_steps = 15
    config.train.schedule = "cosine"
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.98
    config.train.log_every = 10
    config.train.checkpoint_every = 50
    config.train.keep_every = 250
    return config
