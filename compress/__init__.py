"""What is done to a model: recipes, data, tasks, methods, the pipeline, releases and the command line."""
