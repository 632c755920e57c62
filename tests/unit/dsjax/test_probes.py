import numpy as np

from dsjax.probes import Labelled, knn, linear_probe

RNG = np.random.default_rng(0)


def clusters(samples: int, classes: int = 3, noise: float = 0.1) -> Labelled:
    labels = np.arange(samples) % classes
    return Labelled(np.eye(classes, 6)[labels] * 5 + RNG.normal(0, noise, (samples, 6)), 10 * labels)


def test_both_probes_read_separate_clusters_without_error():
    train, val, test = clusters(60), clusters(30), clusters(30)
    np.testing.assert_array_equal(knn(train, test.z), test.labels)
    np.testing.assert_array_equal(linear_probe(train, val, test.z), test.labels)


def test_neighbours_are_near_by_angle_not_by_length():
    train = Labelled(np.array([[1.0, 0.0]] * 5 + [[0.0, 100.0]] * 5), np.array([0] * 5 + [1] * 5))
    assert knn(train, np.array([[60.0, 1.0], [0.01, 0.1]])).tolist() == [0, 1]


def test_five_neighbours_vote():
    """Two of the nearest class, three of the other a little farther: the majority wins."""
    angles = np.radians([1.0, 2.0, 5.0, 6.0, 7.0, 90.0])
    train = Labelled(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 0, 1, 1, 1, 0]))
    assert knn(train, np.array([[1.0, 0.0]])).tolist() == [1]


def test_the_linear_probe_takes_the_penalty_that_val_likes():
    """Labels depend on one weak dimension among loud ones, which standardising and little penalty bring out."""

    def sample(n):
        z = RNG.normal(size=(n, 20)) * np.array([1e-3] + [10.0] * 19)
        return Labelled(z, (z[:, 0] > 0).astype(int))

    train, val, test = sample(400), sample(200), sample(400)
    assert (linear_probe(train, val, test.z) == test.labels).mean() > 0.93
