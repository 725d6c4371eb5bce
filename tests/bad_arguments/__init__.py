"""Every argument of every public name with values that are wrong, or that are right but unusual.

    kinds.py    what an argument may be, stated anew here and not taken from the package: a Kind says of any value what
                it means (the plain value that must give the same result), that it must be refused, or that either is
                right
    judge.py    calls a row of the table with one argument replaced, and says what is wrong with the outcome
    names.py    finds the public names and their parameters
    model_settings.py  the kinds of the arguments of models, by name
    table_*.py  a valid call for each of them, and the kind of each argument
    test_*.py   the product of all that, and whether the table is complete

A new public function, or a new parameter of one, fails until it has its place in the table.
"""
