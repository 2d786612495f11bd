"""What callers post: pictures as they are, in forms, in JSON, or named by URL."""
