"""Recommenders: a focal graph recommender (`zoomer`) and click models over one search space (`ctr`)."""
