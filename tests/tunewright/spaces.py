"""Random search spaces for property tests: all kinds of parameters, and conditions that hang on one another."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, Value

values: st.SearchStrategy[Value] = st.one_of(
    st.booleans(),
    st.integers(-100, 100),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.text("ab1 .e-é#\n", max_size=5),
)


def distinct(choices: list[Value]) -> list[Value]:
    return list({(isinstance(choice, bool), choice): choice for choice in choices}.values())


@st.composite
def spaces(draw: st.DrawFn, max_size: int = 6) -> SearchSpace:
    """A space of 1 to `max_size` parameters; every second one hangs on an earlier one."""
    parameters: list[Float | Int | Categorical | Ordinal] = []
    for i in range(draw(st.integers(1, max_size))):
        fields: dict[str, Any] = {"name": f"p{i}"}
        if parameters and draw(st.booleans()):
            parent = draw(st.sampled_from(parameters))
            fields["when"] = {parent.name: draw(st.lists(own_values(parent), min_size=1, max_size=3))}
        kind = draw(st.sampled_from([Float, Int, Categorical, Ordinal]))
        if kind is Float:
            parameters.append(draw(_floats(fields)))
        elif kind is Int:
            parameters.append(draw(_ints(fields)))
        else:
            choices = distinct(draw(st.lists(values, min_size=1, max_size=6)))
            parameters.append(kind(choices=choices, **fields))
    return SearchSpace(parameters)


@st.composite
def _floats(draw: st.DrawFn, fields: dict[str, Any]) -> Float:
    scale = draw(st.sampled_from(["linear", "log", "step"]))
    if scale == "log":
        low = draw(st.floats(1e-6, 1e3))
        return Float(low=low, high=low * draw(st.floats(1.01, 1e6)), log=True, **fields)
    low = draw(st.floats(-1e6, 1e6))
    if scale == "step":
        step = draw(st.sampled_from([0.1, 0.25, 1.0, 1 / 3, 7.0, 1e-4]))
        return Float(low=low, high=low + step * draw(st.integers(1, 50)) + step / 7, step=step, **fields)
    return Float(low=low, high=low + draw(st.floats(1e-3, 1e6)), **fields)


@st.composite
def _ints(draw: st.DrawFn, fields: dict[str, Any]) -> Int:
    scale = draw(st.sampled_from(["linear", "log", "step"]))
    if scale == "log":
        low = draw(st.integers(1, 1000))
        return Int(low=low, high=low + draw(st.integers(1, 2**43)), log=True, **fields)
    low = draw(st.integers(-(2**49), 2**49))
    span = draw(st.integers(1, 2**49))
    if scale == "step":
        return Int(low=low, high=low + span, step=draw(st.integers(1, span)), **fields)
    return Int(low=low, high=low + span, **fields)


def own_values(parameter: Float | Int | Categorical | Ordinal) -> st.SearchStrategy[Value]:
    """Values that the parameter can have."""
    if isinstance(parameter, Float):
        return st.floats(0, 1).map(parameter.decode)
    if isinstance(parameter, Int):
        step = parameter.step or 1
        return st.integers(0, (parameter.high - parameter.low) // step).map(lambda i: parameter.low + i * step)
    return st.sampled_from(parameter.choices)


@st.composite
def configs(draw: st.DrawFn, space: SearchSpace) -> Config:
    """A valid configuration of the space."""
    config: Config = {}
    for parameter in space.parameters:
        if parameter.active(config):
            config[parameter.name] = draw(own_values(parameter))
    return config
