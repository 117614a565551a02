"""The dock that leads through a first student, step by step."""
