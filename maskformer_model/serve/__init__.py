"""A small HTTP server for an exported model: `python -m maskformer_model.serve --model DIR`. Import modules by name."""
