"""ONNX files of the true forms, written here: their outputs are known, so boxes and scores are too."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jaxhar.host.errors import Problem, Usage
from jaxhar.predict.onnx_detector import OnnxDetector, decode, letterbox, suppress

SIDE = 64
CELLS = sum((SIDE // stride) ** 2 for stride in (8, 16, 32))


def save(path, outputs: dict[str, np.ndarray], shape=(1, 3, SIDE, SIDE), reads: bool = False):
    """A network that gives these arrays; with `reads`, the first one plus the mean of the picture's blue channel."""
    nodes, values = [], []
    for name, array in outputs.items():
        values.append(numpy_helper.from_array(array, f"{name}_value"))
        nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
    if reads:
        name = next(iter(outputs))
        values.append(numpy_helper.from_array(np.array([0]), "first"))
        nodes[0] = helper.make_node("Gather", ["images", "first"], ["blue"], axis=1)
        nodes.insert(1, helper.make_node("ReduceMean", ["blue"], ["mean"], keepdims=0))
        nodes.insert(2, helper.make_node("Add", [f"{name}_value", "mean"], [name]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in outputs.items()
        ],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def raw(boxes, scores, labels=None) -> np.ndarray:
    """YOLOX's output (1, cells, 85) for boxes x1, y1, x2, y2 in pixels of the input, one for each cell of stride 8."""
    found = np.zeros((1, CELLS, 85), np.float32)
    for n, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        x, y = (box[0] + box[2]) / 16, (box[1] + box[3]) / 16
        row = int(y) * (SIDE // 8) + int(x)
        assert not found[0, row].any()
        found[0, row, :4] = x - int(x), y - int(y), *np.log([(box[2] - box[0]) / 8, (box[3] - box[1]) / 8])
        found[0, row, 4], found[0, row, 5 + (0 if labels is None else labels[n])] = 1, score
    return found


BOXES = [(4, 8, 20, 40), (5, 14, 24, 50), (40, 8, 60, 30), (41, 40, 55, 60)]
SCORES = [0.9, 0.8, 0.7, 0.05]


def test_yolox_as_its_repository_exports_it(tmp_path):
    detector = OnnxDetector(save(tmp_path / "yolox_s.onnx", {"output": raw(BOXES, SCORES)}))
    boxes, scores = detector.boxes(np.zeros((96, 128, 3), np.uint8))  # twice as wide as the input
    np.testing.assert_allclose(boxes, 2.0 * np.array([BOXES[0], BOXES[2]]), atol=1e-4)
    np.testing.assert_allclose(scores, [0.9, 0.7], rtol=1e-6)


def test_yolox_that_gives_pixels(tmp_path):
    boxes, scores = decode(raw(BOXES, SCORES)[0], (SIDE, SIDE), pixels=False)
    found = raw(BOXES, SCORES)
    found[0, :, :2], found[0, :, 2:4] = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    again, same = OnnxDetector(save(tmp_path / "net.onnx", {"output": found})).boxes(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_allclose(again, [BOXES[0], BOXES[2]], atol=1e-4)
    np.testing.assert_allclose(same, [0.9, 0.7], rtol=1e-6)


def test_other_classes_are_left_out(tmp_path):
    path = save(tmp_path / "yolox.onnx", {"output": raw(BOXES, SCORES, labels=[2, 0, 16, 0])})
    boxes, _ = OnnxDetector(path).boxes(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_allclose(boxes, [BOXES[1]], atol=1e-4)


def test_rtmdet_as_mmdeploy_exports_it(tmp_path):
    dets = np.array([[[8, 16, 30, 40, 0.9], [1, 1, 9, 9, 0.8], [50, 50, 70, 90, 0.3], [0, 0, 9, 9, 0.02]]], np.float32)
    labels = np.array([[0, 7, 0, 0]])
    path = save(tmp_path / "rtmdet_tiny.onnx", {"dets": dets, "labels": labels})
    boxes, scores = OnnxDetector(path).boxes(np.zeros((64, 60, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[8, 16, 30, 40], [50, 50, 60, 64]], atol=1e-4)  # within the picture
    np.testing.assert_allclose(scores, [0.9, 0.3], rtol=1e-6)


@pytest.mark.parametrize(("kind", "shift"), [("yolox", 200.0), ("rtmdet", (200 - 103.53) / 57.375)])
def test_pictures_are_normalised_as_each_kind_expects(tmp_path, kind, shift):
    dets = np.array([[[0, 0, 50, 50, 0.5]]], np.float32) - np.float32(shift)  # to which the mean of blue is added
    path = save(tmp_path / "net.onnx", {"dets": dets, "labels": np.array([[0]])}, reads=True)
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 2] = 200
    _, scores = OnnxDetector(path, kind).boxes(image)
    np.testing.assert_allclose(scores, [0.5], atol=1e-4)


def test_the_frame_is_scaled_to_fit_at_the_top_left():
    image = np.full((50, 100, 3), (250, 0, 0), np.uint8)
    padded, scale = letterbox(image, (64, 64))
    assert scale == 0.64 and padded.shape == (64, 64, 3)
    assert (padded[:32] == (0, 0, 250)).all() and (padded[32:] == 114).all()


def test_suppression_is_greedy_by_score():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (60, 2))
    boxes, scores = np.concatenate([low, low + rng.uniform(10, 40, (60, 2))], 1), rng.permutation(60) / 60 + 0.01
    left = list(np.argsort(-scores))
    expected = []
    while left:
        best, *left = left
        expected.append(best)
        x1, y1 = np.maximum(boxes[best, :2], boxes[left, :2]).T
        x2, y2 = np.minimum(boxes[best, 2:], boxes[left, 2:]).T
        shared = np.clip(x2 - x1, 0, None) * np.clip(y2 - y1, 0, None)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        left = [n for n, s in zip(left, shared, strict=True) if s / (areas[best] + areas[n] - s) <= 0.45]
    kept, _ = suppress(boxes, scores)
    np.testing.assert_allclose(kept, boxes[expected], atol=1e-6)
    assert 5 < len(expected) < 60


def test_what_is_no_detector_is_told(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no network")
    with pytest.raises(Problem, match=r"a.onnx is no network that ONNX Runtime can open"):
        OnnxDetector(tmp_path / "a.onnx")
    with pytest.raises(Problem, match=r"is no YOLOX or RTMDet: expected are pictures \(1, 3, H, W\)"):
        OnnxDetector(save(tmp_path / "b.onnx", {"output": raw(BOXES, SCORES)}, shape=(1, 1, SIDE, SIDE)))
    with pytest.raises(Problem, match=r"its outputs are float32 \(1, 5, 3\)"):
        OnnxDetector(save(tmp_path / "c.onnx", {"output": np.zeros((1, 5, 3), np.float32)}))
    with pytest.raises(Problem, match=r"is no YOLOX or RTMDet: expected are pictures \(1, 3, H, W\)"):
        OnnxDetector(save(tmp_path / "b.onnx", {"output": raw(BOXES, SCORES)}, shape=(4, 3, SIDE, SIDE)))
    with pytest.raises(Problem, match="is no RTMDet as MMDeploy exports it: it has one output, output"):
        OnnxDetector(save(tmp_path / "rtmdet.onnx", {"output": raw(BOXES, SCORES)}))
    dets = {"dets": np.zeros((1, 0, 5), np.float32), "labels": np.zeros((1, 0), np.int64)}
    with pytest.raises(Usage, match=r"is it yolox or rtmdet\? Give yolox:"):
        OnnxDetector(save(tmp_path / "d.onnx", dets))
    boxes, scores = OnnxDetector(tmp_path / "d.onnx", "rtmdet").boxes(np.zeros((64, 64, 3), np.uint8))
    assert boxes.shape == (0, 4) and scores.shape == (0,)


@pytest.mark.parametrize("side", [7, 31, 4097, 10**6])
def test_inputs_of_absurd_sizes_are_told(tmp_path, side):
    with pytest.raises(Problem, match="with sides from 32 to 4096; it has images"):
        OnnxDetector(save(tmp_path / "yolox.onnx", {"output": raw([], [])}, shape=(1, 3, side, 64)))


DETS, LABELS = np.array([[[1, 1, 30, 50, 0.9]]], np.float32), np.zeros((1, 1), np.int64)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"dets": DETS.repeat(2, 1), "labels": LABELS}, r"outputs are float32 \(1, 2, 5\), int64 \(1, 1\)"),
        ({"dets": DETS, "labels": LABELS.repeat(2, 0)}, "is no YOLOX or RTMDet: its outputs are"),
        ({"dets": DETS[:0], "labels": LABELS[:0]}, "is no YOLOX or RTMDet: its outputs are"),
        ({"dets": DETS, "labels": LABELS == 0}, "is no YOLOX or RTMDet: its outputs are"),
        ({"dets": DETS * np.nan, "labels": LABELS}, "gives boxes that are not finite, or scores outside of 0 to 1"),
        ({"dets": DETS + np.float32(0.2), "labels": LABELS}, "scores outside of 0 to 1"),
        ({"output": raw(BOXES, SCORES).repeat(2, 0)}, "is no YOLOX or RTMDet: its outputs are"),
        ({"output": raw(BOXES, SCORES) + np.float32(np.inf)}, "gives boxes that are not finite"),
        ({"output": raw(BOXES, SCORES).astype(bool)}, "is no YOLOX or RTMDet: its outputs are bool"),
    ],
)
def test_outputs_that_are_no_boxes_are_told(tmp_path, outputs, message):
    with pytest.raises(Problem, match=message):
        OnnxDetector(save(tmp_path / "net.onnx", outputs), "yolox").boxes(np.zeros((64, 64, 3), np.uint8))


def test_sequences_and_text_are_told(tmp_path):
    nodes = {
        "list": helper.make_node("SequenceConstruct", ["images"], ["output"]),
        "object": helper.make_node(
            "Constant",
            [],
            ["output"],
            value=helper.make_tensor("v", TensorProto.STRING, [1, CELLS, 6], [b"a"] * 6 * CELLS),
        ),
    }
    told = {
        "list": helper.make_tensor_sequence_value_info("output", TensorProto.FLOAT, None),
        "object": helper.make_tensor_value_info("output", TensorProto.STRING, [1, CELLS, 6]),
    }
    for kind, node in nodes.items():
        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, SIDE, SIDE))
        graph = helper.make_graph([node], "detector", [images], [told[kind]])
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "yolox.onnx"
        )
        with pytest.raises(Problem, match=f"is no YOLOX or RTMDet: its outputs are {kind}"):
            OnnxDetector(tmp_path / "yolox.onnx")


def test_scores_are_rounded_into_their_range(tmp_path):
    path = save(tmp_path / "rtmdet.onnx", {"dets": DETS + np.float32([0, 0, 0, 0, 0.1001]), "labels": LABELS})
    assert OnnxDetector(path).boxes(np.zeros((64, 64, 3), np.uint8))[1].tolist() == [1]
