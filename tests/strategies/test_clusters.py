"""Clusters of questions: found, counted and reproducible."""

import numpy as np

from orcinus.strategies.clusters import Clusters
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

KINDS = ("sums", "logic", "largest", "parity")


def questions() -> tuple[list[str], list[int]]:
    texts, kinds = [], []
    for kind, generator in enumerate(KINDS):
        for example in draw(ProceduralConfig(generator=generator, count=60, size=(3, 5))):
            texts.append(example.prompt)
            kinds.append(kind)
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order], [kinds[i] for i in order]


def test_questions_of_one_kind_are_one_cluster() -> None:
    texts, kinds = questions()
    clusters = Clusters(texts, count=4, most=20, seed=0)
    found = clusters.of(texts)
    assert len(set(zip(kinds, found.tolist(), strict=True))) == 4
    assert len({tuple(clusters.words(number)) for number in range(4)}) == 4
    assert (Clusters(texts, count=4, most=20, seed=0).of(texts) == found).all()


def test_the_number_of_clusters_is_found_when_none_is_given() -> None:
    texts, kinds = questions()
    found = Clusters(texts, count=None, most=20, seed=0).of(texts)
    # A kind may split into its wordings, but no cluster mixes kinds.
    assert len(set(zip(kinds, found.tolist(), strict=True))) == len(set(found.tolist())) >= 4


def test_texts_that_are_all_alike_or_without_words_are_one_cluster() -> None:
    assert set(
        Clusters(["the same words"] * 30, count=None, most=10, seed=0).of(["the same words"])
    ) == {0}
    assert Clusters(["1 + 1", "2 + 2", "3"], count=None, most=10, seed=0).of(
        ["1 + 1", "?"]
    ).tolist() == [0, 0]
