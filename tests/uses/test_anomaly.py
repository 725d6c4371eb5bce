"""Anomaly detection: the split of a data set, the scores, and the threshold with its rate of false alarms."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import numbers

from minivae import datasets
from minivae.uses import PCA, anomaly_split, detect_anomalies, roc_auc
from minivae.uses.anomaly import alarm_threshold, threshold_rank


def data(labelled=True):
    """Ten images of each of four classes; the first pixel is the label, the second the number of the image."""
    y = np.arange(40) % 4
    x = numbers(40, 1, 3, 2, low=0, high=1, dtype=np.float32)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = y, np.arange(40)
    return datasets.Dataset("toy", x, x[:20], y if labelled else None, y[:20] if labelled else None)


class Known:
    """A model that scores an image by its first pixel, which is its label."""

    def score_samples(self, x):
        return -x[:, 0, 0, 0]


def test_the_model_sees_normal_images_only_and_each_once():
    split = anomaly_split(data(), [0, 2], validation=0.25, seed=1)
    assert len(split.x_train) == 15
    assert len(split.x_validation) == 5
    both = np.concatenate([split.x_train, split.x_validation])
    assert set(both[:, 0, 0, 0]) == {0, 2}
    assert sorted(both[:, 0, 0, 1]) == [i for i in range(40) if i % 4 in (0, 2)]
    np.testing.assert_array_equal(split.x_test, data().x_test)
    np.testing.assert_array_equal(split.anomalous, [label in (1, 3) for label in data().y_test])
    np.testing.assert_array_equal(anomaly_split(data(), [0, 2], 0.25, 1).x_validation, split.x_validation)
    assert not np.array_equal(anomaly_split(data(), [0, 2], 0.25, 2).x_validation, split.x_validation)


def test_detection_counts_alarms():
    pixel = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], np.float32)  # ten scores; the threshold for 20 % is the ninth, 8
    validation = np.broadcast_to(pixel[:, None, None, None], (10, 1, 3, 2))
    test = np.broadcast_to(np.array([8.5, 3, 20, 7, 9, 8], np.float32)[:, None, None, None], (6, 1, 3, 2))
    anomalous = np.array([False, False, True, True, True, False])
    found = detect_anomalies(Known(), validation, test, anomalous, 0.2)
    assert found.threshold == 8
    assert found.false_alarms == pytest.approx(1 / 3)  # 8.5 of (8.5, 3, 8)
    assert found.detected == pytest.approx(2 / 3)  # 20 and 9 of (20, 7, 9)
    assert found.strangest.tolist() == [2, 4, 0, 5, 3, 1]
    np.testing.assert_array_equal(found.scores, test[:, 0, 0, 0])
    assert found.auroc == roc_auc(test[:, 0, 0, 0], anomalous)
    assert detect_anomalies(Known(), validation, test, anomalous.tolist(), 0.2).detected == found.detected


@pytest.mark.parametrize(("labels", "kind"), [([0, 2], "normal"), ([1, 3], "anomalous")])
def test_test_images_of_one_kind_are_refused(labels, kind):
    kept = np.isin(data().y_test, labels)
    one_kind = replace(data(), x_test=data().x_test[kept], y_test=data().y_test[kept])
    with pytest.raises(ValueError, match=f"all {kind}"):
        anomaly_split(one_kind, [0, 2])


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_the_images_that_a_threshold_needs(rate):
    enough = [n for n in range(1, 40) if n + 1e-9 >= 1 / rate - 1]
    for n in range(1, 40):
        if n in enough:
            assert 1 <= threshold_rank(n, rate) <= n
        else:
            with pytest.raises(ValueError, match=f"{n} validation images are too few .* needs {enough[0]}"):
                threshold_rank(n, rate)


def test_images_outside_the_subspace_of_the_normal_images_are_found():
    plane = numbers(2, 6, seed=2)
    x = (numbers(100, 2, seed=3) @ plane).reshape(100, 1, 3, 2)
    strange = numbers(50, 1, 3, 2, seed=5)
    test = np.concatenate([(numbers(50, 2, seed=4) @ plane).reshape(50, 1, 3, 2), strange])
    found = detect_anomalies(PCA(x[:60], 2), x[60:], test, np.arange(100) >= 50)
    assert found.auroc == 1
    assert found.detected == 1
    assert set(found.strangest[:50]) == set(range(50, 100))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("n", [19, 20, 39, 57])
def test_false_alarms_are_rare_enough_and_not_rarer_than_needed(rate, n):
    """Of n + 1 scores, each left out in turn, exactly rate * (n + 1), rounded down, exceed the others' threshold."""
    scores = numbers(n + 1, seed=n)
    alarms = sum(scores[i] > alarm_threshold(np.delete(scores, i), rate) for i in range(n + 1))
    assert alarms == int(rate * (n + 1) + 1e-9)


def test_equal_scores_raise_no_alarm():
    assert alarm_threshold(np.ones(30), 0.1) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: alarm_threshold(np.arange(18.0), 0.05), ValueError, "18 validation images are too few"),
        (lambda: alarm_threshold(np.array([1.0, np.nan] * 20), 0.5), ValueError, "NaN"),
        (lambda: alarm_threshold(np.arange(18.0), 0.0), ValueError, r"\(0, 1\), got 0"),
        (lambda: alarm_threshold(np.arange(18.0), 1.0), ValueError, r"\(0, 1\), got 1"),
        (lambda: anomaly_split(data(labelled=False), [0]), ValueError, "needs labels, and 'toy'"),
        (lambda: anomaly_split(data(), [0, 7]), ValueError, r"\[7\]"),
        (lambda: anomaly_split(data(), []), ValueError, "some classes"),
        (lambda: anomaly_split(data(), [0, 1, 2, 3]), ValueError, "some classes"),
        (lambda: anomaly_split(data(), [0], validation=0.0), ValueError, "validation must be .* got 0.0"),
        (lambda: anomaly_split(replace(data()), [0], validation=1.0), ValueError, "validation must be .* got 1.0"),
        (lambda: anomaly_split(data(), [0], validation=1e-6), ValueError, "leaves nothing"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
