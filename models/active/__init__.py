"""Active learning on graphs: what to ask about, and how to learn from the answers (IGP, Zhang et al., ICLR 2022).

`knowledge` is what answers amount to, `oracle` who gives them, `student` what learns from them, `criteria` and `gain`
decide what to ask next, `campaign` runs the rounds within a budget; `workload` declares `gnn.active`, and `human` does
the same step by step for people who answer in their own time.
"""
