"""Figures of multidiff beside what theory and peers say, each made by one command."""
