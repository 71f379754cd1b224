"""`like` and `grid`: what they stand for, and what they refuse, with file and line."""

import pytest

from reweigh.config import files
from reweigh.config.inherit import Scope, without_grids
from reweigh.errors import ConfigError


@pytest.fixture
def node(tmp_path):
    """A text of YAML as a block with places."""

    def read(text):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(text)
        return files.read(path, "some.yaml")

    return read


def written(node, shared=None):
    """A block as plain values and its sources, with `like` and `grid` written out."""
    content = without_grids(node)
    blocks = content.value.pop("blocks", None)
    out = Scope(shared or {}, blocks.value if blocks else {}).written_out(content)
    return files.plain(out), {".".join(keys): source for keys, source in files.sources(out).items()}


# --- like ---


def test_a_child_is_laid_over_its_parent_key_by_key(node):
    text = """
methods:
  one:
    title: One
    options: { a: { value: 1, source: A }, b: { c: { value: 2, source: B }, d: { value: 3, source: C } } }
  two: { like: one, title: Two, options: { b: { c: { value: 4, source: D } } } }
  three: { like: two }
"""
    plain, sources = written(node(text))
    assert plain["methods"]["two"] == {"title": "Two", "options": {"a": 1, "b": {"c": 4, "d": 3}}}
    assert plain["methods"]["three"] == plain["methods"]["two"]
    assert {key: source for key, source in sources.items() if key.startswith("methods.two")} == {
        "methods.two.options.a": "A",
        "methods.two.options.b.c": "D",
        "methods.two.options.b.d": "C",
    }


def test_a_value_of_the_child_has_no_source_of_the_parents(node):
    text = "a:\n  one: { b: { value: { x: 1, y: 2 }, source: S } }\n  two: { like: one, b: { x: 3 } }\n"
    plain, sources = written(node(text))
    assert plain["a"]["two"] == {"b": {"x": 3, "y": 2}}
    assert {key: source for key, source in sources.items() if "two" in key} == {"a.two.b.y": "S"}


WHOLE = {
    "a block with a source": ("b: { value: { x: 1 }, source: S }", {"x": 1}),
    "an empty block": ("b: {}", {}),
    "a list": ("b: [1]", [1]),
    "null": ("b: null", None),
    "a block like another": ("b: { like: other, y: 3 }", {"x": 9, "y": 3}),
    "a block with another name": ("b: { name: ldam, x: 1 }", {"name": "ldam", "x": 1}),
    "a block with the same name": ("b: { name: focal, x: 1 }", {"name": "focal", "x": 1, "y": 2}),
    "a block without a name": ("b: { x: 1 }", {"name": "focal", "x": 1, "y": 2}),
}


@pytest.mark.parametrize("what", WHOLE)
def test_what_replaces_its_parents_whole(node, what):
    child, expected = WHOLE[what]
    parent = "blocks: { other: { x: 9 } }\na:\n  one: { b: { name: focal, x: 0, y: 2 } }\n"
    text = f"{parent}  two: {{ like: one, {child} }}\n"
    assert written(node(text))[0]["a"]["two"]["b"] == expected


def test_a_schedule_is_replaced_whole(node):
    text = (
        "a:\n  one: { schedule: { milestones: [1], factor: 2 } }\n  two: { like: one, schedule: { milestones: [3] } }\n"
    )
    assert written(node(text))[0]["a"]["two"] == {"schedule": {"milestones": [3]}}


def test_a_parent_is_looked_for_beside_it_then_among_shared_ones_then_among_blocks(node):
    text = """
blocks: { b: { x: 1 } }
methods:
  sgd: { like: sgd, y: 2 }
  mine: { like: sgd }
  loss: { of: { like: b } }
"""
    shared = {"methods": node("sgd: { x: 5 }\n").value, "blocks": node("c: [7]\n").value}
    plain, _ = written(node(text), shared)
    assert plain["methods"] == {"sgd": {"x": 5, "y": 2}, "mine": {"x": 5, "y": 2}, "loss": {"of": {"x": 1}}}
    assert written(node("a: { like: c }\nl: [{ like: c }]\n"), shared)[0] == {"a": [7], "l": [[7]]}


REFUSED = {
    "an unknown parent": (
        "a:\n  one: { x: 1 }\n  two: { like: onee }\n",
        "some.yaml:3: unknown parent of two 'onee'; did you mean 'one'?",
    ),
    "a circle": (
        "a:\n  one: { like: two }\n  two:\n    like: one\n",
        "some.yaml:2: one is like itself: one → two → one",
    ),
    "a circle of blocks": ("blocks:\n  b: { x: { like: b } }\na: { like: b }\n", "like itself"),
    "itself": ("a:\n  one: { like: one }\n", "some.yaml:2: unknown parent of one 'one'"),
    "two parents": ("a:\n  one: { like: [b, c] }\n", "some.yaml:2: like must be one name, is ['b', 'c']"),
    "a merge key": ("a: &a { x: 1 }\nb: { <<: *a }\n", "some.yaml:2: `<<` is not read here; write `like: NAME`"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "some.yaml:3: 'a' stands here twice, first in line 1"),
    "a grid without values": ("a:\n  'b{x}':\n    grid: { x: 1 }\n", "some.yaml:3: grid must hold a list of values"),
    "an empty grid": ("a:\n  b: { grid: {} }\n", "some.yaml:2: grid must hold a list"),
    "a field that is not in the grid": (
        "a:\n  'b{gamm}': { grid: { gamma: [1] } }\n",
        "some.yaml:2: unknown name of the grid 'gamm'; did you mean 'gamma'?",
    ),
    "one name for two": ("a:\n  b: { grid: { gamma: [1, 2] } }\n", "some.yaml:2: 'b' comes twice"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_file_and_line(node, what):
    text, said = REFUSED[what]
    with pytest.raises(ConfigError) as refused:
        written(node(text))
    assert said in str(refused.value)


# --- grid ---


def test_a_grid_makes_one_of_every_combination_in_order(node):
    text = """
settings:
  first: { value: 0 }
  "lambda{lambda_}-gamma{gamma}":
    grid: { lambda_: [10.0, -0.5], gamma: [0.5, 1] }
    value: "λ = {lambda_}, γ = {gamma}"
    options: { lambda_: "{lambda_}", gamma: { value: "{gamma}", source: "Fig. {gamma}" } }
"""
    plain, sources = written(node(text))
    assert list(plain["settings"]) == [
        "first",
        "lambda10-gamma0.5",
        "lambda10-gamma1",
        "lambda-0.5-gamma0.5",
        "lambda-0.5-gamma1",
    ]
    assert plain["settings"]["lambda-0.5-gamma1"] == {
        "value": "λ = -0.5, γ = 1",
        "options": {"lambda_": -0.5, "gamma": 1},
    }
    assert sources["settings.lambda10-gamma0.5.options.gamma"] == "Fig. 0.5"


def test_a_grid_in_a_list_and_values_with_parts(node):
    text = """
rows:
  - 1
  - { grid: { on: [{ name: LT, of: lt }, { name: ST, of: st }] }, table: "T-{on[name]}", to: "{on[of]}" }
"""
    assert written(node(text))[0] == {"rows": [1, {"table": "T-LT", "to": "lt"}, {"table": "T-ST", "to": "st"}]}


def test_a_grid_inside_a_grid_keeps_its_own_names(node):
    text = """
a:
  "s{rate}":
    grid: { rate: [1, 2] }
    by:
      "{m}": { grid: { m: [x, y] }, is: "{m} {rate}" }
"""
    assert written(node(text))[0]["a"] == {
        "s1": {"by": {"x": {"is": "x 1"}, "y": {"is": "y 1"}}},
        "s2": {"by": {"x": {"is": "x 2"}, "y": {"is": "y 2"}}},
    }


def test_a_list_among_options_may_be_called_grid(node):
    text = "m:\n  'a{x}': { grid: { x: [1, 2] }, options: { grid: { value: [{ tau: 0.5 }], source: s }, x: '{x}' } }\n"
    values, _ = written(node(text))
    assert values["m"]["a2"] == {"options": {"grid": [{"tau": 0.5}], "x": 2}}


def test_what_a_grid_makes_may_be_like_something(node):
    text = "m:\n  base: { x: 1 }\n  'g{g}': { grid: { g: [0.1, 0.9] }, like: base, y: '{g}' }\n  more: { like: g0.9 }\n"
    assert written(node(text))[0]["m"]["more"] == {"x": 1, "y": 0.9}
