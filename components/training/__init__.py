"""TFX's Trainer and Tuner around `maskformer_model.training`. No training code of its own."""
