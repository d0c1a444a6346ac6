"""Learning on graphs: PaSca's designs (Zhang et al., WWW 2022), which propagate beside training, and baselines."""
