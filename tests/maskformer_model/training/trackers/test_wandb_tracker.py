"""Runs of Weights & Biases, by its client's offline mode, which writes what it would send into a file."""

from __future__ import annotations

import pytest

from maskformer_model.config import ExperimentConfig, override
from maskformer_model.training.trackers import tracked_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("trackers_installed")]


def test_a_run_is_written_with_curves_settings_lineage_and_files(tmp_path, monkeypatch):
    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true", "ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    config = override(ExperimentConfig(), "runtime.tracker=wandb,runtime.tracker_project=photos")
    weights = tmp_path / "model.weights.h5"
    weights.write_bytes(b"weights")
    with tracked_run.tracked(config, str(tmp_path), {"data_sha256": "6d0c"}) as tracker:
        tracker.write_row({"step": 2, "seconds": 1.0, "loss": 3.5, "loss_ce": 1.25})
        tracker.write_files(str(weights), "training")
        tracker.write_scores({"evaluation/pq": 0.375})
    _end_the_client_s_process()
    run = tracked_run.read_tracked_run(str(tmp_path))
    assert (run, run.project) == (tracker.run, "photos")
    [written] = tmp_path.glob(f"wandb/offline-run-*-{run.run_id}/run-{run.run_id}.wandb")
    content = written.read_bytes()
    for text in (b"photos", b"trainer.train_steps", b"lineage.data_sha256", b"6d0c", b"losses/loss_ce/last_layer",
                 b"1.25", b"model.weights.h5", b"evaluation/pq", b"0.375"):  # fmt: skip
        assert text in content, text
    # Continued, not a new run.
    with tracked_run.tracked(config, str(tmp_path), {}) as again:
        assert again.run == run


def _end_the_client_s_process() -> None:
    """Waits until the client's own process has written its files out; at the end of a program it does so itself."""
    import wandb

    wandb.teardown()
