"""The motion of a PixelCNN's context: experts that copy, by their definition, and who of them is believed."""

from itertools import product

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv
from minivae.models.pixelcnn_motion import COPY, Motion, moved_maps, past_motion


def displacements(reach):
    """In the order of moved_maps()."""
    return list(product(range(reach, -reach - 1, -1), repeat=2))


def motion_of(maps, reach=1, g=None):
    """A Motion of maps with 4 values and random tables; with g, all that it predicts is this."""
    mv.manual_seed(0)
    motion = Motion(maps.shape[2:], (4,) * maps.shape[1], 2, reach, 3).to(dtype=np.float64)
    for k, weight in enumerate((motion.embedding.weight, motion.copied.weight)):
        weight.inplace()[...] = weight.backend.asarray(numbers(*weight.shape, seed=k, dtype=np.float64))
    if g is not None:
        motion.of_all.weight.inplace()[...] = 0
        motion.of_all.bias.inplace()[...] = motion.of_all.bias.backend.asarray(np.asarray(g, np.float64))
        if maps.shape[1] > 1:
            motion.of_past.weight.inplace()[...] = 0
    return motion


def moved_of(motion, maps):
    """(Moved, the backend's array of maps) of a context without features."""
    N, _, H, W = maps.shape
    xp = motion.embedding.weight.backend
    return motion(mv.Tensor(xp.asarray(np.zeros((N, H, W, 2)))), xp.asarray(maps)), xp


def integers(*shape, seed=0, values=4):
    return np.random.default_rng(seed).integers(0, values, shape)


@pytest.mark.parametrize("reach", [1, 2])
def test_a_certain_displacement_moves_the_map(reach):
    """Bugs: the map is moved the other way, or comes in again at the other side."""
    before = integers(2, 2, 4, 5)
    for d, (a, b) in enumerate(displacements(reach)):
        motion = motion_of(before, reach, 200 * np.eye((2 * reach + 1) ** 2)[d])
        out, table = host(moved_of(motion, before)[0].features().data), host(motion.embedding.weight.data)
        for i, j in product(range(4), range(5)):
            inside = 0 <= i - a < 4 and 0 <= j - b < 5
            expected = table[before[:, 0, i - a, j - b]] if inside else table[[4, 4]]  # 4: beyond the map
            np.testing.assert_allclose(out[:, i, j], expected, atol=1e-12)


def test_the_logits_by_their_definition():
    """Bugs: the position itself counts, or later ones; what is beyond the map counts as wrong; no softmax over d."""
    before, k, g = integers(2, 1, 3, 2), integers(2, 3, 2, seed=1, values=3), numbers(9, seed=5, dtype=np.float64)
    motion = motion_of(before, g=g)
    motion.evidence.inplace()[...] = 0.7
    moved, xp = moved_of(motion, before)
    logits, table = host(moved.logits(xp.asarray(k)).data), host(motion.copied.weight.data)
    order = list(product(range(3), range(2)))
    padded = np.pad(before[:, 0], [(0, 0), (1, 1), (1, 1)], constant_values=4)  # 4: beyond the map
    for n, (p, (i, j)) in product(range(2), enumerate(order)):
        scores, rows = g.copy(), []
        for d, (a, b) in enumerate(displacements(1)):
            seen = [(padded[n, u - a + 1, v - b + 1], k[n, u, v]) for u, v in order[:p]]
            scores[d] -= 0.7 * sum(copy not in (4, value) for copy, value in seen)
            rows.append(table[padded[n, i - a + 1, j - b + 1]])
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(logits[n, i, j], weights @ np.array(rows), rtol=1e-10)


def test_the_logits_of_one_position_are_those_of_the_whole_map():
    before, k = integers(3, 2, 4, 5), integers(3, 4, 5, seed=1, values=3)
    moved, xp = moved_of(motion_of(before), before)
    whole = host(moved.logits(xp.asarray(k)).data)
    for p, (i, j) in enumerate(product(range(4), range(5))):
        drawn = np.where(np.arange(20).reshape(4, 5) < p, k, 0)  # the later ones are not known yet
        np.testing.assert_allclose(host(moved.logits_at(xp.asarray(drawn), i, j).data), whole[:, i, j], rtol=1e-12)


def test_drawn_positions_say_which_motion_it_is():
    """Without any motion before, two rows of the next map are enough to copy the third at each displacement."""
    wide = np.random.default_rng(3).integers(0, 9, (1, 8, 8))
    for a, b in displacements(1):
        last, k = wide[:, 1:7, 1:7], wide[:, 1 - a : 7 - a, 1 - b : 7 - b]  # k_p = last_(p - d)
        mv.manual_seed(0)
        moved, xp = moved_of(Motion((6, 6), (9,), 2, 1, 9).to(dtype=np.float64), last[:, None])
        logits = host(moved.logits(xp.asarray(k)).data)[0]
        copied = [(2, j) for j in range(6) if 0 <= j - b < 6]
        assert all(logits[i, j].argmax() == k[0, i, j] and logits[i, j].max() > 0.9 * COPY for i, j in copied)


def test_past_motion_by_its_definition():
    """q_d is proportional to exp(H W times the share of the places p in both maps with a_p = b_(p - d))."""
    maps = integers(3, 3, 3, 2, values=2)
    score = np.zeros((3, 2, 9))
    for n, m, (d, (a, b)) in product(range(3), range(2), enumerate(displacements(1))):
        both = [(i, j) for i, j in product(range(3), range(2)) if 0 <= i - a < 3 and 0 <= j - b < 2]
        score[n, m, d] = 6 * np.mean([maps[n, m, i, j] == maps[n, m + 1, i - a, j - b] for i, j in both])
    expected = np.exp(score) / np.exp(score).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(past_motion(maps, moved_maps(maps, 1)), expected, rtol=1e-12)


def test_at_first_the_motion_of_the_maps_before_goes_on():
    """An untrained Motion has moved the last map by what it moved since the map before."""
    whole = np.random.default_rng(1).integers(0, 9, (10, 10))
    maps = np.stack([whole[2:8, 2:8], whole[2:8, 1:7]])[None]  # what was at (i, j + 1) is now at (i, j)
    mv.manual_seed(0)
    motion = Motion((6, 6), (9, 9), 2, 1, 9).to(dtype=np.float64)
    out, table = host(moved_of(motion, maps)[0].features().data), host(motion.embedding.weight.data)
    error = np.abs(out[0, :, :-1] - table[maps[0, 0, :, 1:]]).mean()
    assert error < 0.1 * np.abs(table).mean()


def test_it_is_differentiated_right():
    """Both uses of the displacements, by all of its weights and by the features it is given."""
    before, k = integers(2, 2, 3, 2), integers(2, 3, 2, seed=1, values=3)
    motion, features = motion_of(before), mv.Tensor(numbers(2, 3, 2, 2, dtype=np.float64))
    xp = motion.embedding.weight.backend
    dy = [numbers(*shape, seed=s, dtype=np.float64) for s, shape in enumerate([(2, 3, 2, 3), (2, 3, 2, 2)])]

    def loss(features, *_):
        moved = motion(features, xp.asarray(before))
        return (moved.logits(xp.asarray(k)) * dy[0]).sum() + (moved.features() * dy[1]).sum()

    assert mv.gradcheck(loss, [features, *motion.parameters()])
