"""The server's settings in a session's hands: what stands, whose it is, and the way back.

A setting is *ours* once this session was about to change it. What differs from what we set was changed by somebody
else: it is left alone, always, while everything of ours can be put back.

A knob that needs a restart stands at one value and may be *filed* at another, which the server's files hold until then:
putting it back changes what is filed, and the restart is up to whoever may make one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from db_knobs.database import Database, Former
from db_knobs.errors import KnobError, RightMissing
from db_knobs.knob import same
from tunewright.errors import TunewrightError
from tunewright.space import Config, Value


class ForeignChange(TunewrightError):
    """Somebody else set what the session tunes.

    Attributes:
        theirs: knob -> reason to leave it alone, in words.
    """

    def __init__(self, theirs: Mapping[str, str]) -> None:
        self.theirs = dict(theirs)
        super().__init__("; ".join(f"{knob} {reason}" for knob, reason in self.theirs.items()))


@dataclass(frozen=True)
class Clamped:
    """A value that the server took otherwise than it was given."""

    knob: str
    asked: Value
    stands: Value


@dataclass(frozen=True)
class Returned:
    """What came of going back.

    Attributes:
        settings: read back.
        left: somebody else's, and why they were left.
        stuck: ours, and why they could not be put back.
        pending: ours that are filed as they were, and stand so once the server restarts, in words.
        changed: whether anything had stood otherwise.
    """

    settings: Config
    left: Mapping[str, str] = field(default_factory=dict)
    stuck: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, str] = field(default_factory=dict)
    changed: bool = True


class Custody:
    """Settings of one database; every method may raise what `Database` raises.

    Args:
        restarting: knobs that need a restart.

    Attributes:
        expected: what stands as far as we know, of every knob that we can put back.
        filed: what those that need a restart will stand at after the next one.
        ours: knobs that were ever about to be changed.
        unsure: a change of ours is under way, or broke off: what stands may be neither of the two.
    """

    def __init__(self, database: Database, former: Former, restarting: Collection[str] = ()) -> None:
        self._database = database
        self.former = former
        self.expected: Config = {name: setting["value"] for name, setting in former.items()}
        self.filed: Config = {name: self.expected[name] for name in restarting}
        self.ours: set[str] = set()
        self.unsure = False

    @property
    def away(self) -> bool:
        """Whether anything that needs no restart is known to stand elsewhere than it stood."""
        return any(not self._at_home(name, self.expected) for name in self.former if name not in self.filed)

    @property
    def running(self) -> Config:
        """What knobs that need a restart stand at."""
        return {name: self.expected[name] for name in self.filed}

    @property
    def unsettled(self) -> set[str]:
        """Knobs that the next restart will change."""
        return {name for name, value in self.filed.items() if not same(self.expected[name], value)}

    def settle(self) -> None:
        """Take what stands after a restart for what is filed: the server may have moved one knob along with another."""
        self.filed = self.running

    def remember(self, left: Mapping[str, Value]) -> None:
        """Take over from an earlier holder of these settings.

        Args:
            left: what that had left everything at; empty where nobody knows, and what is ours may stand at anything.
        """
        self.expected |= {name: value for name, value in left.items() if name in self.former}
        self.unsure = not left

    def theirs(self) -> dict[str, str]:
        """Knobs that do not stand as we left them, and why that is: somebody else set them."""
        return {
            name: f"was set to {stands} by somebody else; this session had left it at {self.expected[name]}"
            for name, stands in self._others(self._database.read(list(self.former))).items()
        }

    def _others(self, standing: Config) -> Config:
        """Of what stands, that which surely is not as we left it."""
        surely = self.expected.keys() - self.ours if self.unsure else self.expected.keys()
        return {
            name: standing[name]
            for name, expected in self.expected.items()
            if name in surely
            and not same(standing[name], expected)
            # Somebody restarted the server: that is no setting of theirs.
            and not (name in self.filed and same(standing[name], self.filed[name]))
        }

    def theirs_to_come(self) -> dict[str, str]:
        """`theirs`, with what somebody has filed and not put in force yet: ask before anything is written over it."""
        self._database.reread()
        return self.theirs()

    def theirs_meanwhile(self) -> dict[str, str]:
        """`theirs_to_come` after a time in which nobody looked: who puts settings back meanwhile does it for us."""
        self._database.reread()
        others = self._others(self._database.read(list(self.former)))
        return {name: self._unlike(name, stands) for name, stands in others.items() if not self._at_home(name, others)}

    def _unlike(self, name: str, stands: Value) -> str:
        if name not in self.ours:
            return f"stands at {stands}, which this session did not set"
        return (
            f"stands at {stands}, and this session had left it at {self.expected[name]}: somebody set it, or the"
            " server's own configuration was changed meanwhile"
        )

    def check(self) -> None:
        """See that everything stands as we left it.

        Raises:
            ForeignChange: it does not.
        """
        if theirs := self.theirs():
            raise ForeignChange(theirs)

    def check_before_writing(self) -> None:
        """`check`, of what is filed as well.

        Raises:
            ForeignChange: somebody else set something, or is about to.
        """
        if theirs := self.theirs_to_come():
            raise ForeignChange(theirs)

    def look(self) -> Config:
        """Read what stands, and take it as it is."""
        self.expected = self._database.read(list(self.former))
        self.unsure = False
        return self.expected

    def file(self, config: Mapping[str, Value]) -> Former:
        """File settings that take a restart; returns what was filed before, for `unfile`.

        Raises:
            KnobError: the server does not take one, or somebody else's waits for a restart; nothing was changed.
            ForeignChange: somebody else set something; nothing was changed.
        """
        self.check_before_writing()
        before = self._database.former(list(config))
        self.unsure = True
        try:
            self._database.apply(config)
        except KnobError:
            # Nothing was changed, so nothing is uncertain.
            self.unsure = False
            raise
        self.unsure = False
        self.filed |= config
        return before

    def unfile(self, before: Former) -> None:
        """File again what was filed before."""
        self._database.restore(before)
        self.filed |= {name: setting["value"] for name, setting in before.items()}

    def put(self, config: Mapping[str, Value]) -> list[Clamped]:
        """Apply settings; only those that stand otherwise are set.

        Raises:
            ForeignChange: somebody else set something; nothing was changed.
        """
        change = {name: value for name, value in config.items() if not same(self.expected[name], value)}
        if all(same(value, self.former[name]["value"]) for name, value in config.items()):
            # All stands as it stood only with what the server has moved along.
            moved = self.ours - config.keys() - self.filed.keys()
            change |= {name: self.former[name]["value"] for name in moved if not self._at_home(name, self.expected)}
        if not change:
            return []
        self.check_before_writing()
        self.unsure = True
        applied = self._database.apply(change)
        self.unsure = False
        self.expected = {**self.expected, **{n: v for n, v in applied.settings.items() if n in self.former}}
        return [
            Clamped(name, value, applied.settings[name])
            for name, value in change.items()
            if not same(applied.settings[name], value)
        ]

    def back(self, left: Mapping[str, str] | None = None) -> Returned:
        """Put the former settings of what is ours back, but of `left`; of those that cannot be, as many as can."""
        return self._back(self.ours, left or {})

    def back_without_restart(self) -> Returned:
        """`back` of what needs no restart; what does stays as it is filed."""
        return self._back(self.ours - self.filed.keys(), {})

    def _back(self, ours: set[str], left: Mapping[str, str]) -> Returned:
        left = {name: reason for name, reason in left.items() if name in self.former}
        # Somebody's setting of a role or a database hides what is still ours for everybody else.
        untouched = left.keys() - self._database.hidden(sorted(ours & left.keys())) if left else set()
        stuck = self._restored({n: setting for n, setting in self.former.items() if n in ours and n not in untouched})
        standing = self.look()
        stuck = {name: why for name, why in stuck.items() if not self._at_home(name, standing)}
        pending = {}
        for name in ours - stuck.keys() - left.keys():
            former = self.former[name]["value"]
            if name in self.filed:
                self.filed[name] = former
            if self._at_home(name, standing):
                continue
            if name in self.filed:
                pending[name] = f"goes back from {standing[name]} to {former} when the server restarts"
            else:
                left[name] = f"went back to {standing[name]}: the server's own configuration was changed meanwhile"
        return Returned(standing, left, stuck, pending)

    def undo(self) -> Returned:
        """Put back what an earlier runner, or we before a connection was lost, may have left.

        What stands neither as it stood nor as we left it is somebody else's, in force or filed. Where nobody knows how
        we left what is ours, it may stand at a value that nobody asked for, since servers round and clamp: it is put
        back.
        """
        standing = self._database.read(list(self.former))
        at_home = all(self._at_home(name, standing) for name in self.former)
        # Those that need a restart stand as they stood although something else may be filed.
        changed = not at_home or bool(self.ours & self.filed.keys())
        # So may everything, where a change broke off after it was written and before the server had read its files.
        if not changed and not (self._database.files_settings and self.ours):
            return Returned(self.look(), changed=False)
        returned = self.back(self.theirs_meanwhile())
        return replace(returned, changed=changed or bool(returned.stuck or returned.left))

    def _at_home(self, name: str, standing: Config) -> bool:
        return same(standing[name], self.former[name]["value"])

    def _restored(self, wanted: Former) -> dict[str, str]:
        """Restore all at once, or each by itself; what could not be, and why."""
        if not wanted:
            return {}
        self.unsure = True
        try:
            self._database.restore(wanted)
            return {}
        except (RightMissing, KnobError) as error:
            if len(wanted) == 1:
                return dict.fromkeys(wanted, str(error))
        stuck: dict[str, str] = {}
        for name, setting in wanted.items():
            stuck |= self._restored({name: setting})
        return stuck


def changed_by(config: Mapping[str, Value], former: Former, moves: Mapping[str, Sequence[str]]) -> set[str]:
    """Knobs that stand elsewhere than they stood once `config` is applied, with those that the server moves along."""
    changed = {n for n, value in config.items() if n in former and not same(former[n]["value"], value)}
    return changed | {other for name in changed for other in moves.get(name, ()) if other in former}
