"""Pure functions of arrays: no clock, no log, no input or output."""
