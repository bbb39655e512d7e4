"""TFX components of the pipeline: a component is a typed contract, an executor the work. Import the modules by name."""
