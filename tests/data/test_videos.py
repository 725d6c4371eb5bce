"""Clips: the generated ones, and those that are cut from videos."""

import sys
import wave

import numpy as np
import pytest
from videos import write_video

import minivae as mv
from minivae.data import moving_clothes, video

SHAPE = (4, 1, 8, 8)


class TestMovingClothes:
    # A garment whose pixels are all different, so that it shows where it is.
    garments = (np.arange(1, 1 + 2 * 12, dtype=np.float32) / 24).reshape(2, 1, 3, 4)

    def where(self, clip, garment):
        """The corner of the garment in each frame (T, 2), which must be there, whole and alone."""
        found = []
        for frame in clip[:, 0]:
            (i, j) = np.argwhere(frame)[0]
            np.testing.assert_array_equal(frame[i : i + 3, j : j + 4], garment[0])
            assert np.count_nonzero(frame) == 12
            found.append((i, j))
        return np.array(found)

    def test_a_garment_keeps_its_form_and_moves_at_one_speed_between_the_edges(self):
        x, chosen = moving_clothes.generate(self.garments, 50, (20, 1, 16, 20), seed=3)
        assert x.shape == (50, 20, 1, 16, 20)
        assert np.bincount(chosen).tolist() == [25, 25]
        for clip, k in zip(x, chosen, strict=True):
            places = self.where(clip, self.garments[k])
            assert (places >= 0).all()
            assert (places <= (16 - 3, 20 - 4)).all()
            steps = np.diff(places, axis=0)
            assert np.abs(steps).max() == 4
            away = (places[1:-1] >= 4).all(axis=1) & (places[1:-1] <= (9, 12)).all(axis=1)  # from the edges
            assert (np.diff(steps, axis=0)[away] == 0).all()  # no turn without an edge

    @pytest.mark.parametrize(
        ("start", "velocity", "expected"),
        [(0.7, 4, [8, 8, 4, 0, 4, 8]), (0.0, -4, [0, 4, 8, 8, 4, 0]), (0.5, 0, [4] * 6), (0.9, -4, [8, 4, 0, 4, 8, 8])],
    )
    def test_edges_are_mirrors(self, start, velocity, expected):
        found = moving_clothes._bounced(np.array([start]), np.array([velocity]), 10, 6)
        np.testing.assert_array_equal(found[0], expected)

    def test_more_clips_leave_the_first_ones_as_they_are(self):
        few, many = (moving_clothes.generate(self.garments, n, (3, 1, 9, 9), seed=1)[0] for n in (4, 9))
        np.testing.assert_array_equal(many[:4], few)
        other = moving_clothes.generate(self.garments, 4, (3, 1, 9, 9), seed=2)[0]
        assert np.abs(other - few).max() > 0

    @pytest.mark.parametrize("shape", [(4, 3, 16, 16), (4, 1, 3, 16), (4, 1, 16, 4), (1, 1, 16, 16)])
    def test_frames_without_room(self, shape):
        with pytest.raises(ValueError, match="larger than 3 x 4"):
            moving_clothes.generate(self.garments, 1, shape, seed=0)

    def test_the_data_set(self):
        data = mv.datasets.load("moving-clothes", image_shape=(3, 1, 20, 24))
        assert (data.x_train.shape, data.x_test.shape) == ((4000, 3, 1, 20, 24), (200, 3, 1, 20, 24))
        clothes = mv.datasets.load("fashion-mini")
        half = clothes.x_test.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
        for k in range(5):  # each test clip shows a test image, of the label that is stated
            same = np.isclose(half.sum(axis=(1, 2)), data.x_test[k, 0].sum(), rtol=1e-5)
            assert data.y_test[k] in clothes.y_test[same]


class TestVideos:
    av = pytest.importorskip("av")

    def test_frames_are_cut_in_order_without_overlap_and_the_last_clips_are_for_testing(self, tmp_path):
        path = write_video(tmp_path / "a.mkv", range(0, 250, 10), rate=12)  # 25 frames: 6 clips and a frame
        data = mv.datasets.load(path, image_shape=SHAPE)
        assert data.frame_rate == 12
        assert (data.x_train.shape, data.x_test.shape) == ((5, *SHAPE), (1, *SHAPE))
        x = np.concatenate([data.x_train, data.x_test])[..., -1]  # (6, 4, 1, 8): the right edge is not black
        expected = np.arange(0, 240, 10).reshape(6, 4, 1, 1) / 255
        np.testing.assert_allclose(x, np.broadcast_to(expected, x.shape), atol=3 / 255)

    def test_frames_are_scaled_and_their_middle_is_kept(self, tmp_path):
        """24 x 40 pixels, of which the left 10 columns are black; the middle 24 x 24 begins at column 8."""
        path = write_video(tmp_path / "a.avi", [200] * 8)
        x = mv.datasets.load(path, image_shape=(2, 3, 12, 12)).x_train
        assert x.shape[1:] == (2, 3, 12, 12)
        np.testing.assert_allclose(x[..., 0], 0, atol=0.02)  # columns 8 and 9
        np.testing.assert_allclose(x[..., 1:], 200 / 255, atol=0.02)

    @pytest.mark.parametrize(
        ("size", "wanted", "expected"),
        [
            ((640, 272), (64, 64), (151, 64)),
            ((40, 24), (8, 8), (14, 8)),
            ((8, 8), (16, 16), (16, 16)),
            ((3, 6), (6, 6), (6, 12)),
        ],
    )
    def test_sizes_that_cover(self, size, wanted, expected):
        assert video.covering(*size, *wanted) == expected

    def test_a_folder_of_videos(self, tmp_path):
        for name, grey in (("a", 50), ("b", 200)):
            write_video(tmp_path / f"{name}.mkv", [grey] * 8)
        data = mv.datasets.load(tmp_path, image_shape=SHAPE)
        for x in (data.x_train, data.x_test):  # a clip of each
            np.testing.assert_allclose(x[..., -1].mean(axis=(1, 2, 3)), [50 / 255, 200 / 255], atol=0.02)

    def test_a_video_without_an_image_shape(self, tmp_path):
        data = mv.datasets.load(write_video(tmp_path / "a.mkv", [9] * 16))
        assert data.x_train.shape == (1, 8, 3, 64, 64)

    def test_a_folder_of_frames(self, tmp_path):
        from PIL import Image

        for t in range(9):
            Image.fromarray(np.full((16, 16), 20 * t, np.uint8)).save(tmp_path / f"{t}.png")
        data = mv.datasets.load(tmp_path, image_shape=SHAPE)
        x = np.concatenate([data.x_train, data.x_test]).mean(axis=(2, 3, 4)).ravel()
        np.testing.assert_allclose(x, 20 * np.arange(8) / 255, atol=1e-6)
        assert mv.datasets.load(tmp_path).x_train.shape[1:] == (1, 16, 16)  # without it they are images

    @pytest.mark.parametrize(
        ("frames", "shape", "message"),
        [
            (3, SHAPE, r"3 frame\(s\), a clip has 4"),
            (7, SHAPE, "no video of two clips, 2 x 4 frames"),
            (8, (1, 1, 8, 8), "at least 2 frames"),
            (8, (4, 2, 8, 8), "grey or RGB"),
            (8, (1, 8, 8), r"must be 4 ints \(T, C, H, W\)"),
        ],
    )
    def test_too_few_frames_and_other_shapes(self, frames, shape, message, tmp_path):
        path = write_video(tmp_path / "a.mkv", [9] * frames)
        with pytest.raises(ValueError, match=message):
            mv.datasets.load(path, image_shape=shape)

    def test_files_that_are_no_videos(self, tmp_path):
        (tmp_path / "text.mp4").write_text("no video")
        (tmp_path / "empty.mp4").write_bytes(b"")
        whole = write_video(tmp_path / "whole.mkv", range(8)).read_bytes()
        (tmp_path / "cut.mkv").write_bytes(whole[:200])
        with wave.open(str(tmp_path / "sound.avi"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(800))
        for name in ("text.mp4", "empty.mp4", "cut.mkv", "sound.avi"):
            with pytest.raises(ValueError, match=name):
                mv.datasets.load(tmp_path / name)

    def test_without_pyav_the_extra_is_named(self, tmp_path, monkeypatch):
        path = write_video(tmp_path / "a.mkv", [9] * 8)
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(ImportError, match=r"minivae\[video\]"):
            mv.datasets.load(path)

    def test_four_sizes_are_for_videos_alone(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros((4, 8, 8), np.uint8))
        for name in ("fashion-mini", "shapes", "syllables", tmp_path / "x.npy"):
            with pytest.raises(ValueError, match=r"3 ints \(C, H, W\)|fixed shape"):
                mv.datasets.load(name, image_shape=SHAPE)
        with pytest.raises(ValueError, match=r"4 ints \(T, C, H, W\)"):
            mv.datasets.load("moving-clothes", image_shape=(1, 32, 32))


def test_a_data_set_of_clips_has_five_axes_and_a_frame_rate():
    clips = np.zeros((2, 3, 1, 8, 8), np.float32)
    mv.datasets.Dataset("own", clips, clips, frame_rate=10.0)
    with pytest.raises(ValueError, match="4 axes"):
        mv.datasets.Dataset("own", clips, clips)
    with pytest.raises(ValueError, match="5 axes"):
        mv.datasets.Dataset("own", clips[0], clips[0], frame_rate=10.0)
    with pytest.raises(ValueError, match="frame_rate"):
        mv.datasets.Dataset("own", clips, clips, frame_rate=0.0)
