"""Workloads on tables of numbers: boosted trees (`xgboost`) and a multilayer perceptron (`mlp`)."""
