"""Bytes in, detections out: the one path that every transport walks."""
