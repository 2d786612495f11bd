"""One table of every output layout we know, and how it becomes rows on our contract."""
