"""A run on one machine: data folder, runner, records of runs, summary and pages."""
