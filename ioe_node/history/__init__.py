"""Energy over time: points, the periods of a local calendar, and the files that hold them.

Everything here is about `Point`s and knows neither chains nor the disk's tables (`store.history`).
What comes out of a file is somebody else's word: it is bounded, checked, and refused whole.
"""
