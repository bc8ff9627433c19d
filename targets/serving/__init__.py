"""A release as a service over HTTP: rows of many requests in one call, bounded in bytes, queue and time."""
