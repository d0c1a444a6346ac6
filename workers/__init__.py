"""Ray: runs optimizers, trials and database sessions as actors and tasks.

`study_loop` is one study's life without Ray, `orders` what it and its legs say to each other; `study_runner` puts it
into a named actor; `leg` runs one leg of a trial in a child process; `journal` is the protocol by which all of it is
written down. `session_loop`, `session_runner` and `session_journal` are the same of a tuning session, whose `watchdog`
is a process that outlives them all. `inprocess` runs optimizers without Ray, inside scikit-learn and Optuna. This room
knows nothing of REST or SQL.
"""
