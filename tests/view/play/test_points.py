import pytest

from gradloom.view.play.points import DATA, draw_points

CLASSES = {"moons": 2, "circles": 2, "spirals": 2, "xor": 2, "blobs": 3, "iris": 3}


@pytest.mark.parametrize("name", DATA)
def test_every_data_set_has_its_points_its_classes_and_its_place(name):
    points, labels = draw_points(name, 150, noise=0.0, seed=3)
    assert len(points) == len(labels) == 150
    assert set(labels) == set(range(CLASSES[name]))
    assert max(abs(c) for point in points for c in point) < 1.2


@pytest.mark.parametrize("name", DATA)
def test_the_seed_decides_the_points_and_noise_moves_them(name):
    assert draw_points(name, 30, 0.1, seed=1) == draw_points(name, 30, 0.1, seed=1)
    assert draw_points(name, 30, 0.1, seed=1) != draw_points(name, 30, 0.1, seed=2)
    assert draw_points(name, 30, 0.1, seed=1) != draw_points(name, 30, 0.2, seed=1)


def test_the_ring_lies_around_the_disc():
    points, labels = draw_points("circles", 100, noise=0.0, seed=1)
    radii = [[(x * x + y * y) ** 0.5 for (x, y), k in zip(points, labels, strict=True) if k == c]
             for c in (0, 1)]  # fmt: skip
    assert max(radii[0]) < min(radii[1])


def test_iris_has_its_150_flowers_whatever_is_asked_for():
    assert len(draw_points("iris", 10, 0.0, seed=1)[0]) == 150
