"""Mixture of experts: gates, their execution, experts spread over ranks, and a language model made of them.

A gate looks at tokens and gives a `Routing`; an execution carries a routing out; neither knows the other's kinds.
"""
