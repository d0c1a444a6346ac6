"""Our optimizers inside other libraries' loops, in the user's own process: no service, no Ray, no store.

`search_cv` is a search of scikit-learn, with its `distributions` and `subsamples`; `optuna_sampler` and `optuna_pruner`
are Optuna's; `tune_search`, with its `tune_space`, and `tune_scheduler` are Ray Tune's. Users import them from
`tunewright.integrations`.
"""
