"""The names that the description is imported by; nothing else lives here."""
