"""Private database servers in temporary directories and load to put on them: for tests, benchmarks and demonstrations.

`server`, `postgres` and `mariadb` start servers; `shop` fills one with tables; `load` drives the `transactions` of a
`phase` from a process of its own, and `schedules` says how phases change. `programs` drives pgbench and sysbench.
"""
