"""The run-time half of a frozen policy: no torch, only a small network built from plain numpy weights."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import pickle
import subprocess
import sys
from datetime import date
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from hybrid_bt.config.build import policy_path
from hybrid_bt.errors import PolicyError
from hybrid_bt.policies.file import MAX_BYTES, OPERATORS, pack, unpack
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.policies.graph import Actor, Dense, Lstm, actor_graph
from hybrid_bt.policies.manifest import Manifest
from hybrid_bt.policies.session import BARS_A_CALL, BARS_WORTH_IT

NAMES = ("ret_1", "ret_5", "ret_21", "vol_ratio", "own_target")
CLIP = 10.0


def manifest_of(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "kind": "sac",
        "observation": NAMES,
        "observation_clip": CLIP,
        "action_low": -1.0,
        "action_high": 1.0,
        "action_meaning": "exposure, fraction of equity",
        "members": 1,
        "train_start": date(1990, 1, 2),
        "train_end": date(2009, 12, 31),
        "symbols": ("KO", "PEP"),
        "data_sha256": "0" * 64,
        "costs": {"spread_bps": 2.0, "fee_bps": 2.0},
        "reward": "net log return",
        "gamma": 0.99,
        "seeds": tuple(range(changes.get("members", 1))),
        "steps": 100,
        "versions": {"torch": "2.13.0"},
    }
    return Manifest(**(fields | changes))


def dense_layers(rng: np.random.Generator, sizes: list[int], activation: Any) -> list[Dense]:
    layers = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        weight = rng.normal(size=(n_in, n_out)) / math.sqrt(n_in)
        layers.append(Dense(weight, rng.normal(size=n_out), activation if i < len(sizes) - 2 else "none"))
    return layers


def mlp_bytes(members: int = 1, hidden: int = 6, activation: Any = "relu", **changes: Any) -> bytes:
    rng = np.random.default_rng(3)
    nets = [Actor([], dense_layers(rng, [len(NAMES), hidden, hidden, 1], activation), "squash") for _ in range(members)]
    manifest = manifest_of(members=members, **changes)
    graph = actor_graph(nets, low=manifest.action_low, high=manifest.action_high)
    return pack(graph, manifest)[0]


def lstm_weights(rng: np.random.Generator, layers: int, hidden: int) -> list[Lstm]:
    sizes = [len(NAMES)] + [hidden] * (layers - 1)
    return [
        Lstm(
            rng.normal(size=(n, 4 * hidden)),
            rng.normal(size=(hidden, 4 * hidden)) / math.sqrt(hidden),
            rng.normal(size=4 * hidden),
        )
        for n in sizes
    ]


def lstm_bytes(members: int = 1, layers: int = 1, hidden: int = 4) -> bytes:
    rng = np.random.default_rng(4)
    lstms = [lstm_weights(rng, layers, hidden) for _ in range(members)]
    nets = [Actor(memory, dense_layers(rng, [hidden, 3, 1], "tanh"), "clip") for memory in lstms]
    graph = actor_graph(nets, low=-1.0, high=1.0)
    recurrent = {"n_lstm": layers, "hidden": hidden}
    return pack(graph, manifest_of(kind="gate", members=members, recurrent=recurrent))[0]


@pytest.fixture
def bars() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, len(NAMES)))


def test_mlp_is_the_formula_on_float32_observations() -> None:
    # One input, weight 2, bias 0.5, box [0, 3]: 3 * (tanh(2 x + 0.5) + 1) / 2, worked out with math.tanh.
    net = Actor([], [Dense(np.array([[2.0]]), np.array([0.5]), "none")], "squash")
    graph = actor_graph([net], low=0.0, high=3.0)
    manifest = manifest_of(observation=("x",), action_low=0.0, action_high=3.0)
    policy = FrozenPolicy(pack(graph, manifest)[0])
    x = float(np.float32(0.1))
    assert policy.act([[0.1]])[0] == pytest.approx(1.5 * (math.tanh(2 * x + 0.5) + 1), abs=1e-15)
    assert policy.act([[0.1]])[0] != pytest.approx(1.5 * (math.tanh(2 * 0.1 + 0.5) + 1), abs=1e-12)


def test_lstm_is_the_formula() -> None:
    # One hidden unit, gates i, f, g, o, two steps by hand.
    wx, wh, b = np.array([[0.5, -0.25, 1.0, 0.75]]), np.array([[0.1, 0.2, -0.3, 0.4]]), np.array([0.0, 1.0, 0.5, -0.5])
    net = Actor([Lstm(wx, wh, b)], [Dense(np.eye(1), np.zeros(1), "none")], "clip")
    graph = actor_graph([net], low=-1.0, high=1.0)
    policy = FrozenPolicy(
        pack(graph, manifest_of(kind="gate", observation=("x",), recurrent={"n_lstm": 1, "hidden": 1}))[0]
    )

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    h = c = 0.0
    for x in (0.5, -2.0, 1.0):
        i, f, g, o = (x * wx[0, k] + h * wh[0, k] + b[k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * math.tanh(g)
        h = sigmoid(o) * math.tanh(c)
        assert policy.act([[x]])[0] == pytest.approx(h, abs=1e-14)


def test_ensemble_is_the_mean_of_its_members(bars: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    nets = [Actor([], dense_layers(rng, [len(NAMES), 6, 1], "tanh"), "squash") for _ in range(3)]

    def answers(members: list[Actor]) -> np.ndarray:
        graph = actor_graph(members, low=-0.5, high=1.5)
        manifest = manifest_of(members=len(members), action_low=-0.5, action_high=1.5)
        return FrozenPolicy(pack(graph, manifest)[0]).act(bars)

    alone = [answers([net]) for net in nets]
    np.testing.assert_allclose(answers(nets), np.mean(alone, axis=0), rtol=0, atol=1e-15)


@pytest.mark.parametrize("members", [1, 5])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_row_does_not_hang_on_its_neighbours(bars: np.ndarray, members: int, activation: str) -> None:
    policy = FrozenPolicy(mlp_bytes(members, activation=activation))
    whole = policy.act(bars)
    for rows in (1, 2, 3, 7, 20):
        np.testing.assert_array_equal(policy.act(bars[:rows]), whole[:rows])
    np.testing.assert_array_equal(policy.run(bars), whole)


def test_actions_stay_in_the_box() -> None:
    # 1/3 and 0.7 do not sum exactly: the rounding of the mean and of the affine map must not show.
    policy = FrozenPolicy(mlp_bytes(5, action_low=1 / 3, action_high=0.7))
    extremes = CLIP * np.sign(np.random.default_rng(1).normal(size=(500, len(NAMES))))
    actions = policy.act(extremes)
    assert actions.min() >= 1 / 3 and actions.max() <= 0.7


def test_answers_are_the_callers_own(bars: np.ndarray) -> None:
    policy = FrozenPolicy(mlp_bytes())
    first = policy.act(bars[:2])
    kept = first.copy()
    policy.act(bars[2:4])
    np.testing.assert_array_equal(first, kept)
    assert first.dtype == np.float64 and first.shape == (2,)


def test_no_rows_no_actions() -> None:
    assert FrozenPolicy(mlp_bytes()).act(np.empty((0, len(NAMES)))).shape == (0,)


@pytest.mark.parametrize(("members", "layers"), [(1, 1), (1, 2), (3, 2)])
def test_run_is_one_act_per_bar(bars: np.ndarray, members: int, layers: int) -> None:
    data = lstm_bytes(members, layers)
    whole, single = FrozenPolicy(data), FrozenPolicy(data)
    np.testing.assert_array_equal(whole.run(bars), [single.act(bar[None])[0] for bar in bars])
    for key in ("h", "c"):
        np.testing.assert_array_equal(whole.state()[key], single.state()[key])


@settings(deadline=None, max_examples=8)
@given(members=st.integers(1, 5), layers=st.integers(1, 3), hidden=st.integers(1, 9), rest=st.integers(0, 40))
def test_a_long_run_has_the_bits_of_one_act_per_bar(members: int, layers: int, hidden: int, rest: int) -> None:
    """Where many steps are one call, in the ensemble and of each member alone."""
    ensemble = FrozenPolicy(lstm_bytes(members, layers, hidden))
    sequence = np.random.default_rng(rest).normal(0.0, 4.0, (BARS_WORTH_IT + rest, len(NAMES)))
    for whole, single in ((ensemble, copy.deepcopy(ensemble)), (ensemble.member(0), ensemble.member(0))):
        for _ in range(2):
            np.testing.assert_array_equal(whole.run(sequence), [single.act(bar[None])[0] for bar in sequence])
            np.testing.assert_array_equal(whole.memory, single.memory)
        assert BARS_A_CALL in whole._calls, "many bars were one call"


def test_memory_is_carried_reset_and_restored(bars: np.ndarray) -> None:
    policy = FrozenPolicy(lstm_bytes(members=2, layers=2))
    first = policy.run(bars)
    assert policy.run(bars)[0] != first[0], "the memory is carried"
    policy.reset()
    np.testing.assert_array_equal(policy.run(bars), first)
    policy.reset()
    policy.run(bars[:15])
    middle = policy.state()
    policy.run(bars)
    policy.restore(middle)
    np.testing.assert_array_equal(policy.run(bars[15:]), first[15:])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copy_goes_its_own_way(bars: np.ndarray, copied: Any) -> None:
    policy = FrozenPolicy(lstm_bytes())
    policy.run(bars[:10])
    twin = copied(policy)
    np.testing.assert_array_equal(twin.run(bars[10:]), policy.run(bars[10:]))
    twin.reset()
    assert policy.state()["h"].any()


@pytest.mark.parametrize("rows", [0, 2])
def test_a_memory_is_of_one_row(bars: np.ndarray, rows: int) -> None:
    with pytest.raises(PolicyError, match=f"remembers one row, got {rows}"):
        FrozenPolicy(lstm_bytes()).act(bars[:rows])


def test_foreign_state_is_refused() -> None:
    policy, other = FrozenPolicy(lstm_bytes()), FrozenPolicy(lstm_bytes(hidden=6))
    with pytest.raises(PolicyError, match="shape"):
        policy.restore(other.state())
    with pytest.raises(PolicyError, match="holds"):
        policy.restore({})
    broken = policy.state()
    broken["c"][...] = np.nan
    with pytest.raises(PolicyError, match="finite"):
        policy.restore(broken)
    assert FrozenPolicy(mlp_bytes()).state() == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_named_and_leaves_no_trace(bars: np.ndarray, bad: float) -> None:
    policy = FrozenPolicy(lstm_bytes())
    first = policy.run(bars)
    policy.reset()
    policy.run(bars[:5])
    before = policy.state()
    broken = bars.copy()
    broken[7, 3] = bad
    with pytest.raises(PolicyError, match=rf"'vol_ratio' of row 7 is {bad}"):
        policy.run(broken)
    with pytest.raises(PolicyError, match="'vol_ratio' of row 0"):
        policy.act(broken[7:8])
    np.testing.assert_array_equal(policy.state()["h"], before["h"])
    np.testing.assert_array_equal(policy.run(bars[5:]), first[5:])


def test_outliers_are_counted_and_clipped(bars: np.ndarray) -> None:
    policy = FrozenPolicy(mlp_bytes())
    wild, tame = bars.copy(), bars.copy()
    wild[0, 0], wild[3, 1], wild[3, 2] = 1e300, -10.5, 10.0
    tame[0, 0], tame[3, 1], tame[3, 2] = 10.0, -10.0, 10.0
    np.testing.assert_array_equal(policy.act(wild), policy.act(tame))
    assert policy.clipped_count == 2
    policy.run(wild)
    assert policy.clipped_count == 4
    assert wild[0, 0] == 1e300, "the caller's array is left alone"


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 6), (1, 2, 5)])
def test_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PolicyError, match=r"shape \(rows, 5\)"):
        FrozenPolicy(mlp_bytes()).act(np.zeros(shape))


def test_columns_are_found_by_name_wherever_they_stand() -> None:
    policy = FrozenPolicy(mlp_bytes())
    assert policy.columns_in(NAMES) == [0, 1, 2, 3, 4]
    made = ["news", *NAMES[::-1]]
    assert [made[column] for column in policy.columns_in(made)] == list(NAMES)
    renamed = ["ret_1", "ret_5", "ret_20", "vol_ratio", "own_target"]
    with pytest.raises(PolicyError, match=r"reads 'ret_21' \(column 2\), which this code does not make"):
        policy.columns_in(renamed)


def test_file_is_a_valid_onnx_model_that_runs_elsewhere(tmp_path: Any, bars: np.ndarray) -> None:
    path = tmp_path / "p.onnx"
    path.write_bytes(mlp_bytes())
    policy = FrozenPolicy.load(path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["hybrid_bt"]
    assert json.loads(model.metadata_props[0].value)["observation"] == list(NAMES)
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert policy.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert policy.manifest.observation == NAMES


@pytest.mark.parametrize("recurrent", [False, True])
def test_each_call_is_a_run_of_onnxruntime_itself(bars: np.ndarray, recurrent: bool) -> None:
    """The same session is asked through its own door: to the last bit, however many rows a call had before it."""
    data = lstm_bytes(2, 1) if recurrent else mlp_bytes(2)
    policy, session = FrozenPolicy(data), onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    memory = {node.name: np.zeros((2, 1, 4)) for node in session.get_inputs()[1:]}
    for t, rows in enumerate((1,) * 5 if recurrent else (1, 20, 1, 3, 20)):
        x = bars[t : t + rows]
        names = [node.name for node in session.get_outputs()]
        answers = dict(zip(names, session.run(names, {"observation": x.astype(np.float32), **memory}), strict=True))
        assert np.array_equal(policy.act(x), answers["action"][:, 0])
        memory = {name: answers[f"{name}_next"] for name in memory}
    for held, name in zip("hc", memory, strict=False):
        assert np.array_equal(policy.state()[held][0], memory[name])


def test_same_weights_same_bytes() -> None:
    assert mlp_bytes(3) == mlp_bytes(3)
    assert lstm_bytes(3, 2) == lstm_bytes(3, 2)


@pytest.mark.parametrize("make", [mlp_bytes, lstm_bytes])
def test_every_altered_byte_is_found(make: Any) -> None:
    data = make()
    rng = np.random.default_rng(5)
    places = {*range(40), *range(len(data) - 60, len(data)), *rng.integers(0, len(data), 600).tolist()}
    for place in sorted(places):
        for flip in (1 << int(rng.integers(8)), 0xFF):
            altered = bytearray(data)
            altered[place] ^= flip
            with pytest.raises(PolicyError):
                unpack(bytes(altered), "p.onnx")


def test_every_truncation_is_found() -> None:
    data = mlp_bytes()
    for size in {*range(60), *range(len(data) - 60, len(data)), *range(0, len(data), 37)}:
        with pytest.raises(PolicyError):
            unpack(data[:size], "p.onnx")


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"x" * 10, b"\x72\x00", b"\x3a\x00", b"\x72"])
def test_every_added_byte_is_found(tail: bytes) -> None:
    data = mlp_bytes()
    for altered in (data + tail, tail + data, data[:50] + tail + data[50:], data + data, data + data[-900:]):
        with pytest.raises(PolicyError):
            unpack(altered, "p.onnx")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + b"\0" * 100, "zip"),
        (b"not an onnx file, just text", "does not end with a hybrid_bt manifest"),
        (b"version https://git-lfs.github.com/spec/v1\n", "does not end with a hybrid_bt manifest"),
        (b"\x08\x08", "does not end with a hybrid_bt manifest"),
    ],
)
def test_other_files_are_refused(tmp_path: Any, data: bytes, says: str) -> None:
    path = tmp_path / "p.onnx"
    path.write_bytes(data)
    with pytest.raises(PolicyError, match=says):
        FrozenPolicy.load(path)


def test_missing_and_huge_files_are_refused(tmp_path: Any) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(PolicyError, match="no file"):
            FrozenPolicy.load(path)
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(PolicyError, match="larger than"):
        FrozenPolicy.load(huge)


def resealed(data: bytes, **changes: Any) -> bytes:
    """The file with another manifest under a correct hash, as another version of this code might write it."""
    model = onnx.load_from_string(data)
    raw = json.loads(model.metadata_props[0].value) | changes
    raw = {key: value for key, value in raw.items() if value is not ...}
    raw.pop("manifest_sha256")
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    raw["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    model.metadata_props[0].value = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    return model.SerializeToString(deterministic=True)


def test_newer_format_asks_for_an_upgrade() -> None:
    newer = resealed(mlp_bytes(), format_version=3, something_new=[1, 2])
    with pytest.raises(PolicyError, match=r"format version 3, newer than 2; upgrade"):
        FrozenPolicy(newer)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"surprise": 1}, "wrong at surprise"),
        ({"gamma": ...}, "wrong at gamma"),
        ({"format_version": 1}, "wrong at format_version"),
        ({"action_low": 5.0}, "action_low must lie below"),
        ({"observation": [*NAMES, "one_more"]}, "'observation'.*manifest says"),
        ({"recurrent": {"n_lstm": 1, "hidden": 4}}, "'h0'.*manifest says"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        FrozenPolicy(resealed(mlp_bytes(), **changes))


def external_weight(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def custom_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil", 1))
    model.graph.node[0].domain = "evil"


def subgraph(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=model.graph, else_branch=model.graph))


def function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("evil", "f", ["x"], ["y"], [], [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize("harm", [external_weight, custom_operator, subgraph, function])
def test_only_what_the_freezer_writes_reaches_onnxruntime(harm: Any) -> None:
    model = onnx.load_from_string(mlp_bytes())
    del model.metadata_props[:]
    harm(model)
    data, _ = pack(model.SerializeToString(deterministic=True), manifest_of())
    with pytest.raises(PolicyError, match="holds what no frozen policy holds"):
        FrozenPolicy(data)


def test_a_network_that_onnxruntime_refuses_is_a_clear_error() -> None:
    model = onnx.load_from_string(mlp_bytes())
    del model.metadata_props[:]
    model.graph.node[0].input[0] = "no_such_tensor"
    data, _ = pack(model.SerializeToString(deterministic=True), manifest_of())
    with pytest.raises(PolicyError, match=r"p\.onnx is refused by onnxruntime"):
        FrozenPolicy(data, "p.onnx")


def test_in_sample_bars_are_known() -> None:
    manifest = manifest_of(valid_start=date(2010, 1, 4), valid_end=date(2010, 12, 31))
    stamps = np.array(
        ["1989-12-29", "1990-01-02", "2009-12-31T16:00", "2010-01-01", "2010-12-31", "2011-01-03"], "M8[ns]"
    )
    np.testing.assert_array_equal(manifest.in_sample(stamps), [False, True, True, False, True, False])


@pytest.mark.parametrize(
    "changes",
    [
        {"observation": ("a", "a")},
        {"observation_clip": 0.1},
        {"action_low": math.nan},
        {"train_end": date(1980, 1, 1)},
        {"valid_start": date(2010, 1, 1)},
        {"members": 2, "seeds": (1,)},
        {"data_sha256": "abc"},
        {"kind": "dqn"},
        {"created": "now"},
        {"results": {"sharpe": math.nan}},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        manifest_of(**changes).sealed_json()


def test_import_is_light(tmp_path: Any) -> None:
    path = tmp_path / "p.onnx"
    path.write_bytes(lstm_bytes())
    code = (
        "import sys; import hybrid_bt.policies.frozen, hybrid_bt.policies.freeze, hybrid_bt.policies.graph\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'stable_baselines3', 'sb3_contrib', 'gymnasium', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "policy = hybrid_bt.policies.frozen.FrozenPolicy.load(sys.argv[1])\n"
        "policy.act([[0.0] * 5])\n"
        "left = {'torch', 'onnx', 'stable_baselines3', 'gymnasium', 'pandas'} & set(sys.modules)\n"
        "assert not left, left\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_many_bars_at_once_are_those_of_one_answer_a_bar() -> None:
    policy, rng = FrozenPolicy.load(policy_path("package:sac.onnx")), np.random.default_rng(0)
    features = rng.normal(size=(700, 20, len(policy.manifest.observation))) * 3.0
    asked = rng.random((700, 20)) < 0.8
    assert np.array_equal(
        policy.act(features[asked]), np.concatenate([policy.act(features[t, asked[t]]) for t in range(700)])
    )


@pytest.mark.parametrize("members", [2, 5])
@pytest.mark.parametrize("data", [mlp_bytes, lstm_bytes])
def test_each_member_answers_alone_with_the_bits_it_has_in_the_ensemble(data: Any, members: int) -> None:
    whole = FrozenPolicy(data(members))
    alone = [whole.member(index) for index in range(members)]
    for row in np.random.default_rng(1).normal(0.0, 4.0, (40, len(NAMES))):
        said = np.array([one.act(row[None])[0] for one in alone])
        assert whole.act(row[None])[0] == pytest.approx(said.mean(), rel=1e-15, abs=1e-15) and said.std() > 0.0


def test_an_ensemble_that_keeps_its_members_to_itself_answers_but_lends_none() -> None:
    """As files were before each member had an output."""
    model = onnx.load_from_string(FrozenPolicy(mlp_bytes(2))._made_of[0])
    del model.metadata_props[:]
    kept = [node for node in model.graph.output if node.name != "each"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    manifest = FrozenPolicy(mlp_bytes(2)).manifest
    data, _ = pack(model.SerializeToString(deterministic=True), manifest)
    rows = np.random.default_rng(0).normal(size=(9, len(NAMES)))
    assert np.array_equal(FrozenPolicy(data).act(rows), FrozenPolicy(mlp_bytes(2)).act(rows))
    with pytest.raises(PolicyError, match="tensor 'each'"):
        FrozenPolicy(data).member(1)
