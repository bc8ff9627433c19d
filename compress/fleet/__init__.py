"""Devices reached over ssh or adb, or on this machine: a release is brought there and measured."""
