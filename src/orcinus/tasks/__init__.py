"""The questions: where examples come from, which are taken, and into which split they go.

``sample`` is the step that splits the pool. ``open`` opens a recipe's task of any kind, ``mixing``
decides how much of each task is taken, and ``inspection`` shows how files are understood. ``files``
reads rows, ``generators`` draw new questions, ``benchmarks`` describe public test sets, and
``duplicates`` finds texts that repeat others.
"""
