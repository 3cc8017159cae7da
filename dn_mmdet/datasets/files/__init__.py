"""Readers of the files that data sets are made of, which say what is wrong with one."""
