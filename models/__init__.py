"""The workloads that Tunewright ships: trainers that report as they learn and can stop and resume anywhere.

Each is declared in a module that imports nothing heavy, and trained by a `training.Learner` beside it, which is
imported when the workload runs. `training` holds the loop and its checkpoints, `metrics` what is measured on held
out rows, `data` the data sets. This room knows nothing of workers, optimizers or the service.
"""
