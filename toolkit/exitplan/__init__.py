"""Exit planning: could we still leave in time, what had to be done before, and where is the proof?

``deadline`` (with ``spread``, ``cost`` and ``clocks``) is arithmetic. ``catalogue`` holds the items, ``record``
the file with what was observed, attested and waived, ``judge`` puts the two together.
"""
