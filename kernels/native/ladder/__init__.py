"""The steps from three loops to a fast product of matrices, one C function for each: ladder.c."""
