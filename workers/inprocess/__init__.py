"""Our optimizers inside other libraries' loops, in the user's own process: no service, no Ray, no store.

`search_cv` is a search of scikit-learn, with its `distributions` and `subsamples`; `optuna_sampler` is a sampler of
Optuna. Users import them from `tunewright.integrations`.
"""
