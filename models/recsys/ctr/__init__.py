"""Click-through models assembled from one search space: embeddings, interactions, network design, loss and sampling.

`space` declares what can be chosen, `model` builds it, `learner` trains it, `baselines` finds the field's known models
in it, `gradient` holds the strategies that learn parts of the choice instead of trying them.
"""
