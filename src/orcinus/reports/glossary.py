"""Explain the terms of reports and pages, in one table, which the documents show too.

explain("95 % interval") ──► "If the run were repeated, 95 of 100 such intervals …"
"""

from collections.abc import Mapping

TERMS: Mapping[str, str] = {
    "95 % interval": "The range in which the true value plausibly lies. Out of 100 such "
    "intervals, about 95 contain it. More questions make it narrower.",
    "all items": "Share of right answers over all questions together. Large tasks weigh more.",
    "answer found": "Share of replies in which a final answer could be read.",
    "answers only": "The same student trained on the right answers without explanations. It "
    "separates what explanations add from what training adds.",
    "any of k right": "Share of questions to which at least one of k answers is right.",
    "arm": "One of the models that are compared on the same questions.",
    "AUC": "Share of pairs in which the classifier ranks the good trace above the other. 50 % is "
    "chance.",
    "before": "The student as it was, without training and without a strategy's instruction.",
    "before, prompted": "The untrained student with the instruction of its best strategy.",
    "better": "Questions on which the student trained on explanations does better than the other.",
    "confirmed": "Share right of the chosen strategy on fresh questions, which had no part in the "
    "choice.",
    "decided by": "The rule that makes one answer out of several.",
    "detectable loss": "The smallest loss that this many questions find with a probability of 80 "
    "%.",
    "erased": "The strategy's instruction was replaced by a general one, so that the student "
    "learns to choose by itself.",
    "explanations": "The student trained on the teacher's explanations: the result of the run.",
    "explanations, prompted": "The same student with the instruction of its best strategy again.",
    "first loss": "Mean loss over the first tenth of the optimizer steps.",
    "floor": "An accuracy just above guessing. A group below it is not yet learnable.",
    "group": "Questions that share one choice of strategy: a task, a category or a cluster.",
    "held-out": "Questions that were kept apart from the start. No model learned from them.",
    "k": "Answers to each question.",
    "last loss": "Mean loss over the last tenth of the optimizer steps.",
    "learned": "Share right of a trial student that a few lessons taught with this strategy. It "
    "is asked without the strategy's instruction.",
    "learned tokens": "Tokens of explanations that the student was trained on, each pass counted.",
    "lesson": "One question with the explanation that the student learns to write.",
    "loss": "How unlikely the model finds the teacher's text, in nats for each response token. "
    "Lower is better.",
    "majority of k": "Share right of the answer that most of the k answers agree on.",
    "mean of tasks": "Mean of the tasks' shares of right answers. Each task has the same weight.",
    "n": "Number of questions.",
    "nats": "Unit of the loss: natural logarithms of probabilities.",
    "no answer": "Replies in which no final answer could be read. They count as not right.",
    "optimizer steps": "Updates of the student's weights.",
    "order flips": "Pairs on which the judge changed its verdict when the two answers were "
    "swapped. They count as ties.",
    "p": "Probability of a difference at least this large if the two were equally good. Below "
    "0.05 counts as a difference.",
    "p (Holm)": "p after a correction for testing several things at once.",
    "passes": "How often training goes through the lessons.",
    "points": "Difference of two percentages: from 50 % to 60 % are 10 points.",
    "probe": "The untrained student answers some questions under each strategy.",
    "prompted": "Share right of the untrained student under the strategy's instruction.",
    "proxy": "A verdict that is not a rule's: a judge's, or that of a majority.",
    "retention": "Tasks that are never taught, and must not get worse.",
    "right where found": "Share of right answers among the replies with a final answer.",
    "strategy": "A way to reason, given to a model as its instruction.",
    "teacher": "The large model that wrote the explanations, on the same questions.",
    "trace": "What the teacher wrote to one question.",
    "trial student": "A student that learned a few lessons of one strategy, to see which strategy "
    "teaches best.",
    "wave": "Round of trial students. Strategies that fall behind are not in the next one.",
    "win rate": "Share of pairs in which the judge prefers this student's answer. Ties count half.",
    "worse": "Questions on which the student trained on explanations does worse than the other.",
}
"""The explanation of each term. A table's head that is a term shows it on hover; the report also
lists all of them, for readers without a mouse."""


def explain(term: str) -> str:
    """Return the explanation of a term; empty for a word that is none."""
    return TERMS.get(term, "")
