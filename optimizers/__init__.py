"""Pure decision making: search space in, next job out.

No I/O, no Ray, no SQL, and no clock or random state of its own: an optimizer is a state machine whose
decisions follow from what it was told. Every optimizer is one class behind the contract in `protocol`,
registered by name in `registry`; surrogates and acquisition stand beside them and are shared.
"""
