"""Trains one update when it is imported, so that copies of its process have imported and compiled everything."""

from . import interrupted

interrupted.trainer().fit(interrupted.loader(), max_steps=1)
