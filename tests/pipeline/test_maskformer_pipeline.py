"""How the nodes are connected, where that depends on the configuration."""

import pytest

from components.training.tuning import TuningConfig
from maskformer_model import experiments
from pipeline.config import IngestStepConfig, PipelineConfig


def pipeline(tmp_path, **settings):
    from pipeline.maskformer_pipeline import create_pipeline

    return create_pipeline(
        PipelineConfig(
            root=str(tmp_path),
            data=IngestStepConfig(data_dir=str(tmp_path / "data")),
            experiment_name="generated_scenes",
            experiment=experiments.get("generated_scenes"),
            **settings,
        )
    )


def test_a_tuner_comes_before_the_trainer_and_hands_its_choice_over(tmp_path):
    tuning = TuningConfig(choices=("trainer.optimizer.learning_rate=3e-4|7e-4",))
    nodes = {node.id: node for node in pipeline(tmp_path, tuning=tuning).components}
    names = list(nodes)
    assert names.index("DriftGate") < names.index("Tuner") < names.index("Trainer")
    assert nodes["Trainer"].inputs["hyperparameters"] is nodes["Tuner"].outputs["best_hyperparameters"]
    assert {node.id for node in nodes["Tuner"].upstream_nodes} >= {"AnomalyGate", "DriftGate"}


def test_without_choices_there_is_no_tuner(tmp_path):
    nodes = {node.id: node for node in pipeline(tmp_path).components}
    assert "Tuner" not in nodes
    assert "hyperparameters" not in nodes["Trainer"].inputs


def test_a_choice_of_an_unknown_setting_is_refused_before_anything_is_built(tmp_path):
    with pytest.raises(KeyError, match="learnig_rate"):
        pipeline(tmp_path, tuning=TuningConfig(choices=("trainer.optimizer.learnig_rate=1|2",)))
