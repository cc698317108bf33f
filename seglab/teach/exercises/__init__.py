"""What the exercises of the lessons ask for: one file each, its name is the exercise's name.

A file holds `expectations`, called with the learner's answers. It goes from the simplest thing asked to the hardest,
each an `expect(met, hint, ...)`; the first that is not met ends the check with its hint. The solutions are not here:
they stand in the lessons, folded, and the tests run them.
"""
