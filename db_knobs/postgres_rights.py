"""What a role of PostgreSQL lacks, and what is lost without it."""

from __future__ import annotations

from collections.abc import Sequence

from db_knobs.database import Capability

# From here on a role that is no superuser can be granted what it takes.
GRANTABLE = 15
# From here on a grant says whether it is inherited; what the role says is the default.
_GRANT_INHERITS = 16


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def grant_monitor(role: str) -> str:
    return f"GRANT pg_monitor TO {quoted(role)};"


def use_monitor(major: int, role: str, *, inherits: bool, member: bool) -> list[str]:
    """What lets a role use the rights of pg_monitor as its own.

    Args:
        inherits: whether the role was made with INHERIT; from PostgreSQL 16 on that is each grant's affair.
        member: whether it has been granted them, and would have to SET ROLE.
    """
    if major >= _GRANT_INHERITS and (member or not inherits):
        return [f"GRANT pg_monitor TO {quoted(role)} WITH INHERIT TRUE;"]
    given = [grant_monitor(role)] if inherits or not member else []
    return given if inherits else [*given, f"ALTER ROLE {quoted(role)} INHERIT;"]


def grant_parameters(major: int, names: Sequence[str], role: str) -> str:
    """What lets a role set them; on old servers nothing less than everything does."""
    if major < GRANTABLE:
        return superuser(role)
    return f"GRANT ALTER SYSTEM ON PARAMETER {', '.join(names)} TO {quoted(role)};"


def grant_reload(role: str) -> str:
    return f"GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {quoted(role)};"


def grant_schema(schema: str, role: str) -> str:
    return f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(role)};"


def superuser(role: str) -> str:
    return f"ALTER ROLE {quoted(role)} SUPERUSER;"


def apply_capability(
    major: int, *, is_superuser: bool, missing: Sequence[str], read_only: bool, forbidden: bool = False
) -> Capability:
    """
    Args:
        missing: grants without which a setting cannot be set, or not put back.
        forbidden: the server lets nobody use ALTER SYSTEM.
    """
    lost = "nothing can be set; sessions can only advise"
    if forbidden:
        remedy = "allow_alter_system is off: set it to on in the server's configuration, and reload it"
        return Capability("apply", False, lost, remedy)
    if major < GRANTABLE and not is_superuser:
        return Capability("apply", False, lost, f"PostgreSQL {major} lets only superusers set anything")
    if missing:
        return Capability("apply", False, lost, " ".join(missing))
    note = "a standby has settings of its own; they are set here alone" if read_only else ""
    return Capability("apply", True, remedy=note)


def statements_capability(database: str, *, works: bool, missing: Sequence[str]) -> Capability:
    """
    Args:
        missing: grants without which statements that are counted cannot be seen.
    """
    if works:
        return Capability("statements", True)
    return Capability(
        "statements",
        False,
        "the context knows rates and kinds of statements, not which; latency is that of transactions, no percentiles",
        " ".join(missing)
        or f"add pg_stat_statements to shared_preload_libraries, restart, and in {database}: CREATE EXTENSION"
        " pg_stat_statements; where all that was done, set pg_stat_statements.track = top and compute_query_id = auto",
    )


def estimates_capability(role: str, *, works: bool) -> Capability:
    if works:
        return Capability("estimates", True)
    return Capability(
        "estimates",
        False,
        "the context does not know how much data statements read",
        f"with pg_stat_statements: GRANT SELECT ON ALL TABLES IN SCHEMA public TO {quoted(role)};",
    )
