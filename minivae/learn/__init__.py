"""The lessons of `minivae learn`: each is one file that runs in under a minute and ends with links into the code.

`minivae learn` lists them, `minivae learn 3` runs the third with its text, `minivae learn exercise 3` writes its
exercise, `minivae learn check 3` says what is right in it. The files of lessons/ are in cells, `# %%`, which editors
and Jupytext open as notebooks; those of exercises/ hold the text, the functions to fill in, and the checks.
"""
