"""A live database as a thing with knobs: what is worth turning, how far, and what it may break.

`catalog/` says what is known of each setting, `knob.py` joins it with what the server reports, the adapters apply,
verify and restore, and `lab/` starts private servers and drives load against them.
"""
