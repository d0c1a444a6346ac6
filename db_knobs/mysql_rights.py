"""What a role of MySQL or MariaDB may do, read from its grants, and the grants that it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set

from db_knobs.address import Kind

# Where a privilege holds -> privileges.
Rights = Mapping[str, Set[str]]

EVERYWHERE = "*.*"
STATISTICS = "performance_schema.*"
# From here on MariaDB's SUPER leaves these out.
SPLIT = (11, 0)
# What MariaDB wants for a variable instead of SUPER.
_FINER = {
    "max_connections": "CONNECTION ADMIN",
    "binlog_cache_size": "BINLOG ADMIN",
    "sync_binlog": "BINLOG ADMIN",
}
_GRANT = re.compile(r"GRANT (?P<privileges>.+?) ON (?P<where>(?:`[^`]*`|[^\s`])+) TO ", re.IGNORECASE)
_ALL = {"ALL PRIVILEGES", "ALL"}
# A role of MariaDB is a name, one of MySQL a name and a host; whoever has a host is an account.
_ROLE = re.compile(r"`[^`]*`(?:@`[^`]*`)?")
_ROLES = re.compile(rf"GRANT (?P<roles>{_ROLE.pattern}(?:,\s*{_ROLE.pattern})*) TO `[^`]*`@`")


def rights_of(grants: Iterable[str]) -> Rights:
    """Rights from lines of SHOW GRANTS; those of active roles are among them."""
    found: dict[str, set[str]] = {}
    for grant in grants:
        if match := _GRANT.match(grant):
            where = re.sub(r"[`'\"]", "", match["where"]).lower()
            # Columns' names stand in brackets, and hold commas.
            privileges = re.sub(r"\([^)]*\)", "", match["privileges"])
            found.setdefault(where, set()).update(name.strip().upper() for name in privileges.split(","))
    return found


def dormant_roles(grants: Iterable[str], active: str | None) -> list[str]:
    """Roles that an account was granted and that are not active, as statements name them.

    Args:
        active: what CURRENT_ROLE() tells.
    """
    found = []
    for grant in grants:
        if match := _ROLES.match(grant):
            found += _ROLE.findall(match["roles"])
    awake = re.sub("[`'\"]", "", active or "").split(",")
    return [role for role in found if re.sub("`", "", role) not in awake]


def has(rights: Rights, privilege: str, where: str = EVERYWHERE) -> bool:
    """Whether a privilege is held there, or on the whole schema or server around it."""
    schema = where.partition(".")[0]
    return any(
        held & {privilege, *_ALL}
        for place, held in rights.items()
        if place in (where, EVERYWHERE) or (schema != "*" and place.endswith(".*") and _of_schema(place, schema))
    )


def _of_schema(place: str, schema: str) -> bool:
    """Whether a place lies in a schema; a grant on a whole one names it by a pattern of LIKE."""
    pattern, _, rest = place.rpartition(".")
    if rest != "*":
        return pattern.replace("\\", "") == schema
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    like = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    return pattern == "*" or re.fullmatch(like, schema, re.DOTALL) is not None


def reads(rights: Rights, database: str) -> bool:
    """Whether any data can be read: of one database, or of any where none is named."""
    views = ("performance_schema", "information_schema")
    places = [place for place in rights if place.split(".")[0].replace("\\", "") not in views]
    if database:
        places = [place for place in places if _of_schema(place, database.lower())]
    return any(rights[place] & {"SELECT", *_ALL} for place in places)


def missing_to_set(kind: Kind, version: tuple[int, int], rights: Rights, names: Sequence[str]) -> list[str]:
    """Privileges that setting these variables takes and that are not held."""
    if kind == "mysql":
        held = has(rights, "SYSTEM_VARIABLES_ADMIN") or has(rights, "SUPER")
        return [] if held or not names else ["SYSTEM_VARIABLES_ADMIN"]
    wanted = sorted({_FINER.get(name, "SUPER") for name in names})
    super_is_enough = version < SPLIT and has(rights, "SUPER")
    return [privilege for privilege in wanted if not has(rights, privilege) and not super_is_enough]


def grant(privileges: Sequence[str], where: str, account: str) -> str:
    """The statement by which an administrator allows it.

    Args:
        account: as CURRENT_USER() tells: `user@host`.
    """
    return f"GRANT {', '.join(privileges)} ON {where} TO {quoted_account(account)};"


def default_role(kind: Kind, role: str, account: str) -> str:
    """The statement by which a role that was granted is active from the next login on."""
    return f"SET DEFAULT ROLE {role} {'TO' if kind == 'mysql' else 'FOR'} {quoted_account(account)};"


def quoted_account(account: str) -> str:
    """`user@host` as statements name it."""
    user, _, host = account.rpartition("@")
    return "@".join("'" + part.replace("\\", "\\\\").replace("'", "''") + "'" for part in (user, host))
