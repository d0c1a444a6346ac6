"""Ray: runs optimizers, trials and (later) database sessions as actors and tasks.

`study_loop` is one study's life without Ray, `orders` what it and its legs say to each other; `study_runner` puts it
into a named actor; `leg` runs one leg of a trial in a child process; `journal` is the protocol by which all of it is
written down. This room knows nothing of REST or SQL.
"""
