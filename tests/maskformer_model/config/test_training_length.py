"""A shorter training, by hand."""

import dataclasses

from maskformer_model import experiments
from maskformer_model.config import override
from maskformer_model.config.training_length import with_train_steps, without_steps


def test_drops_and_the_decoder_s_steps_keep_their_share_and_warm_ups_their_length():
    # Of 300 steps: blocks give up their masks from 60 to 150 and from 120 to 240.
    experiment = override(experiments.get("eomt_small"), "trainer.optimizer.drop_steps=[200,270]")
    short = with_train_steps(experiment, 100)
    decoder = short.task.model.decoder
    assert (decoder.mask_annealing_starts, decoder.mask_annealing_ends) == ((20, 40), (50, 80))
    assert (short.trainer.train_steps, short.trainer.optimizer.drop_steps) == (100, (66, 90))
    optimizer = dataclasses.replace(short.trainer.optimizer, drop_steps=(200, 270))
    assert optimizer == experiment.trainer.optimizer
    assert with_train_steps(short, 300).task.model == experiment.task.model


def test_the_first_step_stays_the_first_and_no_other_becomes_it():
    changed = "task.model.decoder.mask_annealing_starts=[0,120],trainer.optimizer.drop_steps=[200,270]"
    short = with_train_steps(override(experiments.get("eomt_small"), changed), 2)
    assert short.task.model.decoder.mask_annealing_starts == (0, 1)
    assert short.trainer.optimizer.drop_steps == (1,)  # Two drops at one step are one.


def test_networks_that_differ_in_their_training_s_steps_alone_are_the_same():
    model = experiments.get("eomt_small").task.model
    short = with_train_steps(experiments.get("eomt_small"), 100).task.model
    assert without_steps(short) == without_steps(model) != model
    other = dataclasses.replace(model, num_queries=9)
    assert without_steps(other) != without_steps(model)
    maskformer = experiments.get("coco_small").task.model
    assert without_steps(maskformer) == maskformer
