"""The steps from three loops to a fast product of matrices, each by itself: ladder.c."""
