"""The control plane: REST API, store, conductor and dashboard.

`app.create_app` wires it; `conductor` keeps every study that should run running; `store` is the only place that
speaks SQL; `api` has one router per resource.
"""
