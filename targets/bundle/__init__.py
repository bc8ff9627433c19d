"""The files of a release: which ones they are, and whether they are as they were released. It travels in releases."""
