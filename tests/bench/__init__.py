"""Holdfast's engine against restic and borg on generated data: `make bench`."""
