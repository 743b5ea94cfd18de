"""The optimiser and learning-rate schedule that a config asks for."""

from typing import Any

import keras

from trainer.training.config import TrainConfig


def schedule(config: TrainConfig, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then cosine decay to zero (Loshchilov & Hutter 2017) at the end of the last epoch.

    Args:
        steps: batches in an epoch.
    """
    warmup = min(round(config.warmup_epochs * steps), config.epochs * steps - 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """Adam, AdamW or SGD (Nesterov, 0.9) with global-norm clipping; `steps` are the batches in an epoch."""
    options: dict[str, Any] = {"learning_rate": schedule(config, steps), "global_clipnorm": config.clip_norm}
    if config.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    if config.optimizer == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    kind = keras.optimizers.SGD if config.optimizer == "sgd" else keras.optimizers.AdamW
    # None, not 0: Keras skips the decay's multiplications altogether.
    made = kind(weight_decay=config.weight_decay or None, **options)
    if config.weight_decay:
        # Decay pulls kernels towards zero; on a normalisation's scale or on a bias it only fights the data.
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made
